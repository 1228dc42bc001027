// Failure: what dockerode raised, as one of our errors.

import { PyisolateError } from "../errors.ts";

/** What dockerode puts on its errors: `statusCode` when the engine answered, `code` when the socket failed. */
interface DockerodeError extends Error {
  readonly statusCode?: number;
  readonly code?: string;
  readonly json?: { readonly message?: string };
}

/** The error for a failed request about `what`. An error of ours passes unchanged. */
export function asEngineError(error: unknown, what: string): PyisolateError {
  if (error instanceof PyisolateError) return error;
  const { code, json, message } = error as DockerodeError;
  switch (code) {
    case "EACCES":
    case "EPERM":
      return new PyisolateError(
        "ENGINE_NOT_PERMITTED",
        `${what}: permission denied`,
        { next: "Let an administrator add you to the group, then log in again: sudo usermod -aG docker $USER" },
        error,
      );
    case "ENOENT":
    case "ECONNREFUSED":
    case "ENOTSOCK":
      return new PyisolateError(
        "ENGINE_UNAVAILABLE",
        `${what}: nothing answers (${code})`,
        {
          next: "Start Docker Engine: sudo systemctl start docker. On Debian it is installed by: sudo apt-get install docker.io",
        },
        error,
      );
    default:
      return new PyisolateError(
        "ENGINE_FAILED",
        `${what}: ${reasonOf(json?.message ?? message)}`,
        { next: "Try again; if it stays, the engine's own log says more: journalctl -u docker" },
        error,
      );
  }
}

/** dockerode's own prefix says nothing that the code does not. */
function reasonOf(message: string): string {
  return message.replace(/^\(HTTP code \d+\) .*? - /, "").trim();
}

/** The engine says that there is no such thing. */
export function isMissing(error: unknown): boolean {
  return (error as DockerodeError).statusCode === 404;
}

/** The engine says that the thing is in use, or that the same is going on already. */
export function isConflict(error: unknown): boolean {
  return (error as DockerodeError).statusCode === 409;
}

/** To a question that every engine answers: no HTTP came back, or a status other than success and failure of the engine's own. */
export function isNoAnswer(error: unknown): boolean {
  const { code, statusCode } = error as DockerodeError;
  return code?.startsWith("HPE_") === true || (statusCode !== undefined && statusCode < 500 && statusCode !== 403);
}

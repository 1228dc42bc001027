// Remote: an error frame of the other side as a PyisolateError. Text only: nothing of it is constructed as it was there.

import { type ErrorCode, PyisolateError } from "../errors.ts";
import type { ErrorBody } from "./bodies.ts";

/** What this side alone can judge; from the other side such a code is a mistake or a lie. */
const OWN_JUDGEMENT: ReadonlySet<ErrorCode> = new Set([
  "CALL_TIMEOUT",
  "PACK_DIED",
  "PACK_OUT_OF_MEMORY",
  "PACK_STOPPED",
  "PACK_UNRESPONSIVE",
  "PEER_BROKEN",
  "PEER_CLOSED",
  "PROTOCOL_MISMATCH",
  "PROTOCOL_VIOLATION",
]);

/** Keeps the code when it is one of ours. `details.remote` holds type, message, args and traceback. */
export function remoteError(method: string, error: ErrorBody): PyisolateError {
  const { type, message, args, traceback } = error;
  const code = error.code === undefined || OWN_JUDGEMENT.has(error.code) ? "REMOTE_ERROR" : error.code;
  const isOurs = type === "PyisolateError" || code === "CALL_CANCELLED";
  const text = isOurs ? message : `"${method}" raised ${type}: ${message}`;
  const cause = error.cause === undefined ? undefined : remoteError(method, error.cause);
  return new PyisolateError(code, text, { remote: { type, message, args, traceback } }, cause);
}

// Death of a loaded pack: collects the facts from its container, lets supervisor/death.ts word them, and clears it away.

import type { RunningContainer } from "../container/container.ts";
import { settlesWithin } from "../container/settles.ts";
import { PyisolateError } from "../errors.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { deathError, logTailLines, type PackPhase } from "../supervisor/death.ts";

/** Milliseconds to wait for a container to end once its worker has hung up. */
const hangUpGraceMs = 2000;

export interface Loss {
  readonly manifest: Manifest;
  readonly container: RunningContainer;
  readonly phase: PackPhase;
  /** Nodes that were running. */
  readonly nodeIds: readonly string[];
  /** What the connection ended with. */
  readonly reason: PyisolateError | undefined;
}

/** Why a worker that is lost is gone, as the error to raise. Its container is removed. Never rejects. */
export async function explainDeath(loss: Loss): Promise<PyisolateError> {
  const { manifest, container, phase, nodeIds, reason } = loss;
  const isHangUp = reason === undefined || reason.code === "PEER_BROKEN" || reason.code === "PEER_CLOSED";
  const hasEnded = isHangUp && (await settlesWithin(container.exited, hangUpGraceMs));
  const exit = hasEnded ? await container.exited : undefined;
  const logTail = await container.logTail(logTailLines);
  const error = isHangUp
    ? deathError({ pack: manifest.name, phase, exit, limits: container.limits, logTail, nodeIds })
    : brokenRules(manifest, reason, logTail);
  return discard(container, error);
}

/** Removes a container because of `error` and gives that error, with `details.cleanup` when the removal failed. */
export async function discard(container: RunningContainer, error: PyisolateError): Promise<PyisolateError> {
  try {
    await container.stop({ graceMs: 0 });
    return error;
  } catch (cleanup) {
    return new PyisolateError(error.code, error.message, { ...error.details, cleanup }, error.cause);
  }
}

/** The worker lives but broke the protocol: the connection's own error, with the pack's name. */
function brokenRules(manifest: Manifest, reason: PyisolateError, logTail: readonly string[]): PyisolateError {
  const next = "Its container was removed. Load the pack again; if it persists, do not trust the pack.";
  const details = { next, ...reason.details, logTail };
  return new PyisolateError(reason.code, `pack "${manifest.name}": ${reason.message}`, details, reason);
}

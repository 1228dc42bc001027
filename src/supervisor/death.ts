// Death: why a pack's process is gone, as one error. Pure: the facts are handed in, already collected.
// Must not know Docker, sockets or clocks.

import { constants } from "node:os";
import { PyisolateError } from "../errors.ts";

/** What the pack was doing: before its hello, importing its module, running nodes, or nothing. */
export type PackPhase = "starting" | "loading" | "executing" | "idle";

export interface PackDeath {
  /** The pack's name. */
  readonly pack: string;
  readonly phase: PackPhase;
  /** How its process ended; undefined when the engine cannot say. */
  readonly exit: { readonly exitCode: number; readonly oomKilled: boolean } | undefined;
  /** Limits that were in force: bytes. */
  readonly limits: { readonly max_memory: number };
  /** Last lines it printed, oldest first. */
  readonly logTail: readonly string[];
  /** Nodes that were running. */
  readonly nodeIds?: readonly string[];
}

/** How many of a pack's last lines an error carries. */
export const logTailLines = 20;

/** Exit status of a process that SIGKILL ended. */
const killedExitCode = 137;

const phaseTexts: Record<PackPhase, string> = {
  starting: "before it said hello",
  loading: "while it was importing its module",
  executing: "while it was running",
  idle: "while it was idle",
};

/**
 * PACK_OUT_OF_MEMORY when the kernel killed the pack itself: exit status 137 and the OOM mark together (a killed child
 * leaves the mark too, and anybody's SIGKILL the status); PACK_START_FAILED until it is loaded; else PACK_DIED.
 */
export function deathError(death: PackDeath): PyisolateError {
  const when = describePhase(death);
  const details = { logTail: death.logTail, ...(death.exit === undefined ? {} : { exitCode: death.exit.exitCode }) };
  const memory = formatBytes(death.limits.max_memory);
  if (death.exit?.oomKilled && death.exit.exitCode === killedExitCode) {
    return new PyisolateError(
      "PACK_OUT_OF_MEMORY",
      `pack "${death.pack}" used more than its max_memory of ${memory} ${when} and was killed`,
      {
        ...details,
        next: `Give it more than ${memory}: max_memory in its manifest, within the operator's policy; or smaller inputs.`,
      },
    );
  }
  const childNote = death.exit?.oomKilled
    ? `; the kernel killed one of its child processes for using more than ${memory}`
    : "";
  const how =
    death.exit === undefined ? "and the engine does not say how" : `with ${describeExit(death.exit.exitCode)}`;
  const isLoaded = death.phase === "executing" || death.phase === "idle";
  const code = isLoaded ? "PACK_DIED" : "PACK_START_FAILED";
  return new PyisolateError(code, `pack "${death.pack}" ended ${when} ${how}${childNote}${lastWords(death.logTail)}`, {
    ...details,
    next: nextStep(death),
  });
}

/** A pack that was ended because of one node that went on for `graceMs` milliseconds after its call was over. */
export function unresponsiveError(
  pack: string,
  nodeId: string,
  graceMs: number,
  logTail: readonly string[],
): PyisolateError {
  return new PyisolateError(
    "PACK_UNRESPONSIVE",
    `pack "${pack}" was ended: its node "${nodeId}" went on for ${graceMs} ms after its call had timed out or been cancelled`,
    {
      nodeId,
      logTail,
      next: "Load the pack again to go on. A long node should ask pyisolate.cancelled() now and then and return when it is true.",
    },
  );
}

function describePhase({ phase, nodeIds = [] }: PackDeath): string {
  if (phase !== "executing" || nodeIds.length === 0) return phaseTexts[phase];
  const names = nodeIds.map((id) => `"${id}"`).join(", ");
  return `while it was running ${nodeIds.length === 1 ? "node" : "nodes"} ${names}`;
}

/** "exit code 3", or "signal SIGSEGV (exit code 139)". */
function describeExit(exitCode: number): string {
  const signal = signalName(exitCode);
  return signal === undefined ? `exit code ${exitCode}` : `signal ${signal} (exit code ${exitCode})`;
}

/** A shell's and Docker's way to tell a signal: 128 + its number. */
function signalName(exitCode: number): string | undefined {
  return Object.entries(constants.signals).find(([, number]) => number === exitCode - 128)?.[0];
}

function lastWords(logTail: readonly string[]): string {
  const last = logTail.findLast((line) => line.trim() !== "");
  return last === undefined ? "" : `; it last printed: ${last}`;
}

function nextStep({ phase, exit, logTail }: PackDeath): string {
  if (exit?.oomKilled) return "Give it more memory: max_memory in its manifest, within the operator's policy.";
  if (exit !== undefined && signalName(exit.exitCode) === "SIGSEGV") {
    return "Native code crashed: pin other versions of its compiled dependencies, or set env PYTHONFAULTHANDLER to 1.";
  }
  const where = logTail.length === 0 ? "It printed nothing" : "The log lines say what it printed last";
  return `${where}; ${phase === "starting" || phase === "loading" ? "mend the pack and load it again" : "load the pack again to go on"}.`;
}

/** Powers of 1024 with the manifest's units. */
function formatBytes(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1);
  return `${Number((bytes / 1024 ** power).toFixed(1))} ${units[power]}`;
}

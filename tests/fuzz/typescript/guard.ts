// Guard: what one input may do to this process. Whatever it is, it ends as the protocol says, and takes little memory.
// Must not know targets.

import { openSync, writeSync } from "node:fs";
import { isPyisolateError } from "../../../src/errors.ts";
import { garbageCollector } from "../../../src/tensor/garbage.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** The longest body is 16 MiB; the rest is room for what the engine does meanwhile. */
const growthBytes = 18 * MiB;

const clearReferences = openSync("/proc/self/clear_refs", "w");
const collectGarbage = garbageCollector();

/** A fuzz target from what is to be done with one input: its errors are findings, and so is growth beyond 18 MiB. */
export function guarded(run: (input: Buffer) => unknown): (input: Buffer) => void {
  return (input) => {
    if (growthOf(() => run(input)) <= growthBytes) return;
    // The garbage of others may have been the cause; this input's own growth comes back.
    collectGarbage();
    const bytes = growthOf(() => run(input));
    if (bytes > growthBytes) throw new Error(`this input makes the process grow by ${Math.round(bytes / MiB)} MiB`);
  };
}

/** By how many bytes the process is at most larger while `run` runs. */
function growthOf(run: () => unknown): number {
  writeSync(clearReferences, "5"); // the peak is now what the process has
  const before = process.resourceUsage().maxRSS;
  run();
  return (process.resourceUsage().maxRSS - before) * KiB;
}

/** Runs it; one of our errors that says that the other side broke the protocol is a good end. true: there was none. */
export function keepsProtocol(run: () => void): boolean {
  try {
    run();
    return true;
  } catch (error) {
    if (isPyisolateError(error, "PROTOCOL_VIOLATION") || isPyisolateError(error, "PROTOCOL_MISMATCH")) return false;
    throw error;
  }
}

/** The same small numbers for the same seed, in both languages: a step of the generator of Park and Miller. */
export function randomSteps(seed: number): (below: number) => number {
  let state = seed + 1;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}

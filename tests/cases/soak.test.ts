// A long-running program holds no more after 2,000 mixed calls than it held before them.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";
import { Place } from "./harness.ts";

const MiB = 1024 * 1024;

/** Calls by the way that tensors take. */
const runs = { descriptor: 2000, mounted: 500 };

test.concurrent.each(Object.entries(runs))(
  "segments %s: %d calls, tensors, cancels, errors and deaths leave all as it was",
  soak,
  180_000,
);

async function soak(segments: string, calls: number): Promise<void> {
  await using place = await Place.make();
  const policy = join(place.directory, "policy.yaml");
  await writeFile(policy, `share: [[soak_a, soak_b]]\nsegments: ${segments}\n`);
  const program = ["--import", "tsx", "--expose-gc", join(import.meta.dirname, "soak/program.ts")];
  const { stdout } = await execa(process.execPath, [...program, policy, place.directory, String(calls)]);
  console.log(stdout);
  const { before, after, stopped, endings, deaths, wrongResults } = JSON.parse(stdout);

  expect({ deaths, wrongResults }).toEqual({ deaths: 1 + Math.round(calls / 400), wrongResults: 0 });
  const expected = ["CALL_CANCELLED", "CALL_TIMEOUT", "NODE_FAILED", "PACK_DIED", "ok"];
  expect(Object.keys(endings).sort()).toEqual(expected);

  const { residentBytes: hostBefore, ...heldBefore } = before.host;
  const { residentBytes: hostAfter, ...heldAfter } = after.host;
  expect(heldAfter).toMatchObject({ mappings: 0, descriptors: heldBefore.descriptors, handles: heldBefore.handles });
  expect(hostAfter - hostBefore).toBeLessThan(64 * MiB);
  expect(heldAfter.shm).toHaveLength(heldBefore.shm.length);

  expect(after.worker).toEqual({ ...before.worker, residentBytes: expect.any(Number) });
  expect(after.worker.residentBytes - before.worker.residentBytes).toBeLessThan(48 * MiB);

  expect(stopped.shm).toEqual([]);
  expect(await place.leftovers()).toEqual([]);
}

// What a dead program left is removed; what a living one has, or another run root, is not.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { sweep } from "../../src/container/sweep.ts";
import { type Bench, openBench, probeImage } from "./container-support.ts";

const nothing = { containers: [], images: [], directories: [] };

let bench: Bench;
beforeAll(async () => {
  bench = await openBench();
});
afterEach(async () => expect(await bench.leftovers()).toEqual([]));
afterAll(() => bench.close());

/** Another program of this user that runs one pack. */
async function startProgram(runRoot: string): Promise<{ child: ChildProcess; owner: string; container: string }> {
  const program = fileURLToPath(new URL("./container-probe/program.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", program, runRoot, probeImage], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: child.stdout })) return { child, ...JSON.parse(line) };
  throw new Error("the program ended");
}

/** Its directories of shared memory. */
function segmentsOf({ owner }: { readonly owner: string }): string[] {
  return readdirSync("/dev/shm").filter((name) => name.includes(`-${basename(owner)}-`));
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}

test("a killed program's container and directory go, a living one's stay", async () => {
  await using own = await bench.start();
  const other = await startProgram(bench.runRoot);
  expect(await sweep(bench.engine, bench.runRoot)).toEqual(nothing);
  expect(segmentsOf(other)).toHaveLength(1);
  await kill(other.child);
  const found = { ...nothing, containers: [other.container], directories: [other.owner] };
  expect(await sweep(bench.engine, bench.runRoot, { dryRun: true })).toEqual(found);
  expect((await bench.engine.containers.inspect(other.container))?.labels["pyisolate.pack"]).toBe("doomed_pack");
  expect(await sweep(bench.engine, bench.runRoot)).toEqual(found);
  expect(segmentsOf(other)).toEqual([]);
  expect(await bench.engine.containers.inspect(other.container)).toBeUndefined();
  expect(existsSync(other.owner)).toBe(false);
  expect((await bench.engine.containers.inspect(own.id))?.running).toBe(true);
});

test("a container whose owner's directory is not seen stays while it runs, and goes once it has ended", async () => {
  const other = await startProgram(bench.runRoot);
  const hidden = `${bench.runRoot}-hidden`;
  renameSync(other.owner, hidden); // as from another mount namespace
  expect(await sweep(bench.engine, bench.runRoot)).toEqual(nothing);
  expect((await bench.engine.containers.inspect(other.container))?.running).toBe(true);
  await kill(other.child);
  await bench.engine.containers.wait(other.container);
  expect(await sweep(bench.engine, bench.runRoot)).toEqual({ ...nothing, containers: [other.container] });
  rmSync(hidden, { recursive: true });
});

test("a container whose owner's directory is gone goes too; one of another run root stays", async () => {
  const elsewhere = join(mkdtempSync(join(tmpdir(), "pyisolate-test-")), "run");
  const here = await startProgram(bench.runRoot);
  const there = await startProgram(elsewhere);
  await kill(here.child);
  await kill(there.child);
  await bench.engine.containers.wait(here.container); // its worker's connection ended
  rmSync(here.owner, { recursive: true });
  expect(await sweep(bench.engine, bench.runRoot)).toEqual({ ...nothing, containers: [here.container] });
  expect(segmentsOf(here)).toEqual([]);
  expect(segmentsOf(there)).toHaveLength(1);
  expect((await sweep(bench.engine, elsewhere)).containers).toEqual([there.container]);
  rmSync(dirname(elsewhere), { recursive: true });
});

test("a directory without owner.sock is left alone: its program may be about to listen", async () => {
  const directory = join(bench.runRoot, "starting");
  mkdirSync(directory);
  expect(await sweep(bench.engine, bench.runRoot)).toEqual(nothing);
  expect(readdirSync(bench.runRoot)).toContain("starting");
  rmSync(directory, { recursive: true });
});

// A build that is killed: what it made for itself goes as soon as anybody looks, and not while it lives.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sweep } from "../../src/container/sweep.ts";
import { connectEngine } from "../../src/engine/docker.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { ExtensionManager } from "../../src/index.ts";

let engine: Engine;
let folder: string;
beforeAll(async () => {
  engine = await connectEngine({ dockerHost: process.env.DOCKER_HOST });
  folder = await mkdtemp(join(tmpdir(), "pi-"));
});
afterAll(() => rm(folder, { recursive: true }));

interface Doomed {
  readonly child: ChildProcess;
  readonly container: string;
  readonly image: string;
  readonly bytes: number;
}

/** Another program of this user, in the middle of a build. */
async function startBuild(): Promise<Doomed> {
  const program = fileURLToPath(new URL("./image-probe.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", program, folder], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) return { child, ...JSON.parse(line) };
  throw new Error("the build ended");
}

test("a killed build's container, image and directory go at once, a living one's stay", async () => {
  const { child, container, image, bytes } = await startBuild();
  const runRoot = join(folder, "pyisolate");
  const [owner = ""] = await readdir(runRoot);
  expect(await sweep(engine, runRoot)).toEqual({ containers: [], images: [], directories: [] });
  child.kill("SIGKILL");
  await once(child, "exit");

  const lock = { reference: image, kind: "lock", pack: undefined, bytes };
  await using manager = new ExtensionManager({ engine, environment: { ...process.env, XDG_RUNTIME_DIR: folder } });
  const listed = await manager.prune({ dryRun: true });
  expect(listed.containers).toContain(container);
  expect(listed.images).toContainEqual(lock);
  expect(await engine.images.inspect(image)).toBeDefined();

  const swept = await sweep(engine, runRoot);
  expect(swept).toEqual({ containers: [container], images: [lock], directories: [join(runRoot, owner)] });
  expect(await engine.containers.inspect(container)).toBeUndefined();
  expect(await engine.images.inspect(image)).toBeUndefined();
});

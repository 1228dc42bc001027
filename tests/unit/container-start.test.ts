// What startContainer raises when the engine fails on the way out as well. The engine is a fake: a real one cannot be told to.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startContainer } from "../../src/container/container.ts";
import { createOwnerDirectory, type OwnerDirectory } from "../../src/container/rundir.ts";
import type { Engine, EngineContainers } from "../../src/engine/engine.ts";
import { testManifest } from "./container-manifest.ts";

let scratch: string;
let owner: OwnerDirectory;
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "pyisolate-start-"));
  owner = await createOwnerDirectory(join(scratch, "run"));
});
afterEach(async () => {
  expect(readdirSync(owner.path)).toEqual(["owner.sock"]);
  await owner.close();
  rmSync(scratch, { recursive: true });
});

/** Runs a container that ends at once with exit code 3. */
function failingEngine(broken: Partial<EngineContainers>): Engine {
  const containers: Partial<EngineContainers> = {
    create: async () => "an id",
    start: async () => undefined,
    inspect: async () => undefined,
    wait: async () => ({ exitCode: 3, oomKilled: false }),
    logs: async () => ["last words"],
    remove: async () => undefined,
    ...broken,
  };
  return { containers } as unknown as Engine;
}

const start = (broken: Partial<EngineContainers>) =>
  startContainer(
    failingEngine(broken),
    { image: "an image", manifest: testManifest(), owner, segments: "none" },
    { startupTimeoutMs: 10_000 },
  );

test("an engine that cannot remove the container does not hide why it ended", async () => {
  const cleanup = new Error("the engine is busy");
  const attempt = start({ remove: () => Promise.reject(cleanup) });
  await expect(attempt).rejects.toMatchObject({
    code: "PACK_START_FAILED",
    message: expect.stringContaining("exit code 3"),
    details: { cleanup, logTail: ["last words"] },
  });
});

test("an engine that cannot give the log does not hide why it ended", async () => {
  const attempt = start({ logs: () => Promise.reject(new Error("no log driver")) });
  await expect(attempt).rejects.toMatchObject({ code: "PACK_START_FAILED", details: { exitCode: 3, logTail: [] } });
});

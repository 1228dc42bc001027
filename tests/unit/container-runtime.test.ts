// A runtime that the engine has not is named before anything is built.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { requireRuntime } from "../../src/container/runtime.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { ExtensionManager } from "../../src/index.ts";
import { testManifest } from "./container-manifest.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "pi-runtime-"));
  await writeFile(join(directory, "manifest.yaml"), "name: guarded\nversion: 1.0.0\nruntime: runsc\n");
});
afterAll(() => rm(directory, { recursive: true }));

/** Tells its runtimes and notes everything else that is asked of it. */
function engineOf(runtimes: readonly string[]) {
  const asked: string[] = [];
  const part = (name: string) =>
    new Proxy(
      {},
      {
        get: (_target, member) => async () => {
          asked.push(`${name}.${String(member)}`);
          throw new Error("enough");
        },
      },
    );
  const parts = { images: part("images"), containers: part("containers"), volumes: part("volumes") };
  return { engine: { info: async () => ({ runtimes }), ...parts } as unknown as Engine, asked };
}

test("runsc on an engine without it: its runtimes, the line, and nothing built", async () => {
  const { engine, asked } = engineOf(["io.containerd.runc.v2", "runc"]);
  await using manager = new ExtensionManager({ engine, environment: { HOME: directory } });
  const refused = {
    code: "ISOLATION_UNAVAILABLE",
    message: `${directory}/manifest.yaml:3:10: runtime: asks for runsc, and the engine's runtimes are io.containerd.runc.v2, runc`,
    details: { key: "runtime", next: expect.stringContaining("daemon.json") },
  };
  await expect(manager.loadExtension(directory)).rejects.toMatchObject(refused);
  await expect(manager.ensureImage(directory)).rejects.toMatchObject(refused);
  expect(asked).toEqual([]);
});

test("an engine that has it goes on to the image", async () => {
  const { engine, asked } = engineOf(["runc", "runsc"]);
  await using manager = new ExtensionManager({ engine, environment: { HOME: directory } });
  await expect(manager.ensureImage(directory)).rejects.toThrow("enough");
  expect(asked[0]).toBe("images.inspect");
});

test("a runtime that the policy chose has no line", () => {
  const manifest = testManifest({ runtime: "crun" });
  expect(() => requireRuntime(manifest, { runtimes: [] })).toThrow(
    "the policy's default: runtime: asks for crun, and the engine's runtimes are unknown",
  );
  requireRuntime(testManifest({ runtime: undefined }), { runtimes: [] });
});

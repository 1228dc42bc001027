// What loadExtension, check and the rest read a pack from, before any engine is asked.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { build } from "../../src/commands/build.ts";
import { check } from "../../src/commands/check.ts";
import type { CommandContext } from "../../src/commands/context.ts";
import { inspect } from "../../src/commands/inspect.ts";
import { run } from "../../src/commands/run.ts";
import type { ExtensionConfig } from "../../src/extension/pack.ts";
import { ExtensionManager } from "../../src/index.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "pi-pack-"));
});
afterAll(() => rm(directory, { recursive: true }));

const environment = { DOCKER_HOST: "unix:///nowhere/docker.sock" };

test.each<[string, unknown, string]>([
  ["null", null, "a pack is a folder's path or a config object, got nothing"],
  ["nothing", undefined, "a pack is a folder's path or a config object, got nothing"],
  ["a number", 5, "a pack is a folder's path or a config object, got 5"],
  ["a list", ["packs/a"], "a pack is a folder's path or a config object, got a list"],
  ["a path that is none", { module_path: 5 }, "module_path of a config must be a folder's path, got 5"],
])("%s in place of a pack is a USAGE error", async (_name, source, message) => {
  await using manager = new ExtensionManager({ environment });
  const expected = { code: "USAGE", message, details: { next: expect.stringContaining("module_path") } };
  await expect(manager.loadExtension(source as ExtensionConfig)).rejects.toMatchObject(expected);
  await expect(manager.ensureImage(source as ExtensionConfig)).rejects.toMatchObject(expected);
});

describe("isolated: false", () => {
  test.each([
    ["no policy names the pack", "packs: {other: {isolated: false}}\n"],
    ["the policy lets the pack", "packs: {open: {isolated: false}}\n"],
  ])("is refused by every verb with one message, when %s", async (_name, policyText) => {
    await writeFile(join(directory, "manifest.yaml"), "name: open\nversion: 1.0.0\nisolated: false\n");
    const policy = join(directory, "policy.yaml");
    await writeFile(policy, policyText);
    const { signal } = new AbortController();
    const context: CommandContext = { environment, policy, signal, onProgress: () => {} };
    const request = { directory, node: "Node", inputs: [], outputs: [] };
    const refused = {
      code: "POLICY_REFUSED",
      message: `${directory}/manifest.yaml:3:11: isolated: false runs the pack inside a Python host, and this program is not one`,
      details: { key: "isolated", line: 3, next: "Remove the line, or load the pack from a Python host." },
    };
    await expect(check(directory, context)).rejects.toMatchObject(refused);
    await expect(build(directory, context)).rejects.toMatchObject(refused);
    await expect(inspect(directory, context)).rejects.toMatchObject(refused);
    await expect(run(request, context)).rejects.toMatchObject(refused);
  });
});

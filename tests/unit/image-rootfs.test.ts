// A base that cannot be made here says what is missing and what to run. No engine is asked before that is known.

import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { type HostSettings, hostSettingsFrom } from "../../src/image/host.ts";
import { makeRootfs } from "../../src/image/rootfs.ts";
import { defaultImageSettings } from "../../src/image/settings.ts";
import type { ImageContext } from "../../src/image/work.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "image-rootfs-"));
  const tool = join(folder, "mmdebstrap");
  await writeFile(tool, "#!/bin/sh\nexit 1\n");
  await chmod(tool, 0o755);
});
afterAll(() => rm(folder, { recursive: true }));

function context(changes: Partial<HostSettings>): ImageContext {
  const machine = { caBundle: undefined, home: folder, isRoot: true, architecture: "x64" };
  const host = { ...hostSettingsFrom({}, []), ...machine, ...changes };
  return { engine: {} as Engine, storeDirectory: folder, host, settings: defaultImageSettings };
}

test("without mmdebstrap: the commands to install it", async () => {
  await expect(makeRootfs("3.11", "extract", context({}))).rejects.toMatchObject({
    code: "BASE_UNAVAILABLE",
    message: expect.stringContaining("mmdebstrap is not installed"),
    details: { missing: "mmdebstrap", next: expect.stringContaining("apt-get install mmdebstrap") },
  });
});

test("without root: the command to run as root once", async () => {
  await expect(makeRootfs("3.11", "extract", context({ path: [folder], isRoot: false }))).rejects.toMatchObject({
    code: "BASE_UNAVAILABLE",
    details: { missing: "root", next: expect.stringContaining("pyisolate build") },
  });
});

test("a Python that neither Debian nor this machine has", async () => {
  await expect(makeRootfs("3.12", "extract", context({ path: [folder] }))).rejects.toMatchObject({
    code: "BASE_UNAVAILABLE",
    message: expect.stringContaining("no python3.12"),
    details: { missing: "interpreter" },
  });
});

// A base that cannot be made here says what is missing and what to run. No engine is asked before that is known.

import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BuildOptions, Engine, Labels } from "../../src/engine/engine.ts";
import { PyisolateError } from "../../src/errors.ts";
import { ensureBase } from "../../src/image/base.ts";
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
  const ownerLabels = async () => ({});
  return { engine: {} as Engine, storeDirectory: folder, host, settings: defaultImageSettings, ownerLabels };
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

test("a base does not inherit from its root file system that it may be swept", async () => {
  const packageDirectory = join(folder, "package");
  await mkdir(join(packageDirectory, "images"), { recursive: true });
  for (const file of ["Dockerfile.base", "images/debian.sh", "images/machine-python.py"]) {
    await writeFile(join(packageDirectory, file), "");
  }
  const labels: Labels[] = [];
  const images = {
    inspect: async () => undefined,
    pull: () => Promise.reject(new PyisolateError("ENGINE_FAILED", "no registry")),
    import: async (_rootfs: unknown, _reference: string, own: Labels) => labels.push(own),
    build: async (_context: unknown, options: BuildOptions) => labels.push(options.labels),
    remove: async () => true,
  };
  await ensureBase("3.11", {
    ...context({ path: [folder] }),
    engine: { images } as unknown as Engine,
    settings: { ...defaultImageSettings, packageDirectory },
    ownerLabels: async () => ({ owner: "this program" }),
  });
  const [ofRootfs = {}, ofBase = {}] = labels;
  expect(ofRootfs).toMatchObject({ owner: "this program", "pyisolate.made": expect.stringMatching(/^\d+$/) });
  expect(ofBase).toMatchObject({ "pyisolate.kind": "base", owner: "", "pyisolate.made": "" });
  for (const name of Object.keys(ofRootfs)) expect(ofBase[name], name).not.toBe(ofRootfs[name]);
});

// A mount's source has to be what it is called, tried on real links.

import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { requireRealSources } from "../../src/container/mounts.ts";
import { testManifest } from "./container-manifest.ts";

let scratch: string;
beforeEach(() => {
  scratch = realpathSync(mkdtempSync(join(tmpdir(), "pyisolate-mounts-")));
  mkdirSync(join(scratch, "models/inner"), { recursive: true });
  writeFileSync(join(scratch, "models/file"), "x");
  symlinkSync("/", join(scratch, "models/evil"));
  symlinkSync("models", join(scratch, "link"));
});
afterEach(() => rmSync(scratch, { recursive: true }));

const look = (...names: string[]) =>
  requireRealSources(
    testManifest({ mounts: names.map((name) => ({ source: join(scratch, name), target: "/mnt/x", write: false })) }),
  );

test("real folders and files pass", async () => {
  await look("models", "models/inner", "models/file");
});

test.each([
  ["models/evil", "/"],
  ["models/evil/etc", "/etc"],
  ["link/inner", "models/inner"],
])("%s is refused: it leads elsewhere", async (name, real) => {
  const found = real.startsWith("/") ? real : join(scratch, real);
  await expect(look("models", name)).rejects.toMatchObject({
    code: "POLICY_REFUSED",
    message: `pack/manifest.yaml:7:1: mounts[1].source: ${join(scratch, name)} leads over a link to ${found}, but folders are granted by their real path`,
    details: { line: 7, column: 1, next: expect.stringContaining(`Write ${found} into the manifest`) },
  });
});

test("one that is not there is refused", async () => {
  await expect(look("missing")).rejects.toMatchObject({
    code: "ISOLATION_UNAVAILABLE",
    message: `pack/manifest.yaml:7:1: mounts[0].source: ${join(scratch, "missing")} does not exist`,
    details: { next: expect.stringContaining("Make it") },
  });
});

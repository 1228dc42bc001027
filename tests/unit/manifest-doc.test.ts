// What is made from the table of keys is up to date.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

test("the JSON Schemas and docs/manifest.md are what `node scripts/manifest-doc.mjs` writes", () => {
  const script = join(import.meta.dirname, "../../scripts/manifest-doc.mjs");
  const { status, stderr } = spawnSync(process.execPath, [script, "--check"], { encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});

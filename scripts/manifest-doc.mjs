// `node scripts/manifest-doc.mjs`: writes what is made from src/manifest/keys.ts: both JSON Schemas and docs/manifest.md.
// With --check it writes nothing and fails when one of them is out of date.

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { register } from "tsx/esm/api";
import { renderManifestDoc } from "./lib/manifest-doc.mjs";
import { main, SetupError, say } from "./lib/say.mjs";

const root = join(import.meta.dirname, "..");
const command = "node scripts/manifest-doc.mjs";

await main(async () => {
  const unregister = register();
  const load = (file) => import(join(root, "src/manifest", file));
  const { manifestSchema } = await load("schema.ts");
  const { policySchema } = await load("policy-schema.ts");
  const files = {
    "src/manifest/manifest.schema.json": formatJson(manifestSchema()),
    "src/manifest/policy.schema.json": formatJson(policySchema()),
    "docs/manifest.md": renderManifestDoc({
      ...(await load("keys.ts")),
      ...(await load("policy.ts")),
      ...(await load("sizes.ts")),
      ...(await load("parse.ts")),
      command,
    }),
  };
  await unregister();
  if (process.argv.includes("--check")) return check(files);
  for (const [file, text] of Object.entries(files)) {
    writeFileSync(join(root, file), text);
    say(`✓ ${file}`);
  }
});

function check(files) {
  const stale = Object.entries(files).filter(([file, text]) => readOrEmpty(join(root, file)) !== text);
  if (stale.length === 0) return;
  throw new SetupError(`out of date: ${stale.map(([file]) => file).join(", ")}`, `Run: ${command}`);
}

/** JSON as Biome formats it, so that the files pass `npm run check`. */
function formatJson(value) {
  const biome = join(root, "node_modules/@biomejs/biome/bin/biome");
  const { status, stdout, stderr } = spawnSync(process.execPath, [biome, "format", "--stdin-file-path=schema.json"], {
    cwd: root,
    input: JSON.stringify(value, null, 2),
    encoding: "utf8",
  });
  if (status !== 0) throw new SetupError(`Biome cannot format a schema:\n${stderr}`);
  return stdout;
}

function readOrEmpty(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

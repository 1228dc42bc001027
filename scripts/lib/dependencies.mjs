// npm dependencies and the compiled program: made when missing or older than what they are made from.

import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { runQuietly } from "./command.mjs";
import { SetupError } from "./say.mjs";

const root = join(import.meta.dirname, "../..");
const oldestNode = [20, 19];

export function requireNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1])) {
    throw new SetupError(`Node ${process.versions.node} is too old, expected ${oldestNode.join(".")} or later.`);
  }
}

/** Runs `npm ci` unless node_modules was installed from this very lock file. */
export async function ensureDependencies() {
  const stamp = join(root, "node_modules/.pyisolate-lock");
  const wanted = digestOf([join(root, "package-lock.json")]);
  if (readOrEmpty(stamp) === wanted) return;
  await runQuietly("npm dependencies", "npm", ["ci", "--no-audit", "--no-fund"], { cwd: root });
  writeFileSync(stamp, wanted);
}

/** Compiles src/ to dist/ unless dist/ was made from these very sources. */
export async function ensureCompiled() {
  const dist = join(root, "dist");
  const stamp = join(dist, ".sources");
  const sources = filesBelow(join(root, "src"));
  const wanted = digestOf([...sources, join(root, "tsconfig.json"), join(root, "tsconfig.build.json")]);
  if (readOrEmpty(stamp) === wanted) return;
  rmSync(dist, { recursive: true, force: true });
  await runQuietly("compile src to dist", process.execPath, [
    join(root, "node_modules/typescript/bin/tsc"),
    "-p",
    join(root, "tsconfig.build.json"),
  ]);
  for (const file of sources.filter((path) => path.endsWith(".json"))) {
    const target = join(dist, relative(join(root, "src"), file));
    mkdirSync(dirname(target), { recursive: true });
    cpSync(file, target);
  }
  writeFileSync(stamp, wanted);
}

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function digestOf(files) {
  const hash = createHash("sha256");
  for (const file of files) hash.update(relative(root, file)).update("\0").update(readFileSync(file)).update("\0");
  return hash.digest("hex");
}

function readOrEmpty(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

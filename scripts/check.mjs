// `npm run check`: format, lint, types, unused code and import table, in both languages.

import { join } from "node:path";
import { runOpenly } from "./lib/command.mjs";
import { runPythonTools } from "./lib/python.mjs";
import { main, say } from "./lib/say.mjs";
import { setUpMachine } from "./lib/setup.mjs";

const root = join(import.meta.dirname, "..");
const bin = (path) => [process.execPath, join(root, "node_modules", path)];

const ruff = (...args) => ["python", "-m", "ruff", ...args];

const typescript = [
  ["format and lint", ...bin("@biomejs/biome/bin/biome"), "check", "."],
  ["types", ...bin("typescript/bin/tsc"), "-p", "tsconfig.json"],
  ["unused code", ...bin("knip/bin/knip.js")],
  ["package", ...bin("publint/src/cli.js"), "--strict"],
  ["import table", ...bin("vitest/vitest.mjs"), "run", "tests/unit/import-table.test.ts"],
];
const python = [
  ["Python format", ...ruff("format", "--check"), "runtime-python", "examples"],
  ["Python lint", ...ruff("check"), "runtime-python", "examples"],
  ["Python types", "python", "-m", "mypy", "--config-file", "runtime-python/pyproject.toml", "runtime-python/src"],
  ["Python import table", "python", "-m", "pytest", "-q", "runtime-python/tests/test_import_table.py"],
];

await main(async () => {
  const pyisolate = await setUpMachine({ pythons: ["3.11"] });
  const failed = [];
  for (const [name, command, ...args] of typescript) {
    say(`\n· ${name}`);
    if ((await runOpenly(command, args, { cwd: root })) !== 0) failed.push(name);
  }
  for (const [name, ...command] of python) {
    say(`\n· ${name}`);
    const { exitCode, output } = await runPythonTools(pyisolate, "3.11", command);
    process.stderr.write(output);
    if (exitCode !== 0) failed.push(name);
  }
  const total = typescript.length + python.length;
  console.log(
    failed.length === 0
      ? `\n${total} checks passed`
      : `\n${failed.length} of ${total} checks failed: ${failed.join(", ")}`,
  );
  return failed.length === 0 ? 0 : 1;
});

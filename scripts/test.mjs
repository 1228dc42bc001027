// `npm test`: every test of both languages, against a real Docker Engine. The last line is `N passed, N failed[, N skipped]`.

import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { runOpenly } from "./lib/command.mjs";
import { runPythonTools } from "./lib/python.mjs";
import { main, say } from "./lib/say.mjs";
import { setUpMachine, setUpOptionalBases } from "./lib/setup.mjs";

const root = join(import.meta.dirname, "..");
const requiredPythons = ["3.9", "3.11", "3.13"];
const optionalPythons = ["3.10", "3.12"];

await main(async () => {
  const pyisolate = await setUpMachine({ pythons: requiredPythons });
  const available = await setUpOptionalBases(pyisolate, optionalPythons);
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const add = (more) => {
    for (const key of Object.keys(counts)) counts[key] += more[key];
  };
  add(await runVitest());
  for (const python of [...requiredPythons, ...available]) {
    say(`\n· Python ${python}: pytest`);
    const { exitCode, output } = await runPythonTools(pyisolate, python, [
      "python",
      "-m",
      "pytest",
      "-q",
      "runtime-python",
    ]);
    process.stderr.write(output);
    add(countPytest(exitCode, output));
  }
  for (const python of optionalPythons.filter((each) => !available.includes(each))) {
    say(`· Python ${python}: no interpreter on this machine, its tests count as skipped`);
    counts.skipped += 1;
  }
  const skipped = counts.skipped === 0 ? "" : `, ${counts.skipped} skipped`;
  console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
  return counts.failed === 0 ? 0 : 1;
});

async function runVitest() {
  const report = join(root, "out/vitest.json");
  mkdirSync(join(root, "out"), { recursive: true });
  rmSync(report, { force: true });
  const program = join(root, "node_modules/vitest/vitest.mjs");
  const args = [program, "run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const status = await runOpenly(process.execPath, args, { cwd: root });
  const result = JSON.parse(readFileSync(report, "utf8"));
  // A file that fails to load has no tests to count, yet it failed.
  const brokenFiles = result.testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.length === 0,
  );
  const failed = result.numFailedTests + brokenFiles.length;
  return {
    passed: result.numPassedTests,
    failed: failed === 0 && status !== 0 ? 1 : failed,
    skipped: result.numPendingTests + result.numTodoTests,
  };
}

/** Reads pytest's last line, such as `3 failed, 120 passed, 1 skipped in 2.34s`. */
function countPytest(exitCode, output) {
  const summary = output.trimEnd().split("\n").at(-1) ?? "";
  const count = (word) => Number(new RegExp(`(\\d+) ${word}`).exec(summary)?.[1] ?? 0);
  const failed = count("failed") + count("errors?");
  return { passed: count("passed"), failed: failed === 0 && exitCode !== 0 ? 1 : failed, skipped: count("skipped") };
}

// One minute of coverage-guided fuzzing in every test run: half a minute for each language, both at once.
// More: npm run fuzz -- --minutes N.

import { readFileSync } from "node:fs";
import { beforeAll, expect, test } from "vitest";
import { prepareFuzzing, reportOf } from "../../scripts/lib/fuzz.mjs";
import { setUpMachine } from "../../scripts/lib/setup.mjs";
import { accepts as acceptsSession } from "../fuzz/typescript/session.ts";
import { accepts as acceptsValues } from "../fuzz/typescript/values.ts";

let fuzzing: Awaited<ReturnType<typeof prepareFuzzing>>;
beforeAll(async () => {
  fuzzing = await prepareFuzzing(await setUpMachine({ pythons: ["3.11", "3.13"] }));
});

test.each([
  { target: "session", seconds: 20 },
  { target: "values", seconds: 10 },
])("no input crashes, hangs or bloats $target in either language", async (run) => {
  const languages = ["typescript", "python"];
  const results = await Promise.all(languages.map((language) => fuzzing.fuzz({ ...run, language })));
  const reports = results.map(reportOf);
  console.log(reports.join("\n"));
  expect(
    results.map(({ crash }) => crash),
    reports.join("\n\n"),
  ).toEqual([undefined, undefined]);
  for (const { inputs } of results) expect(inputs).toBeGreaterThan(100);
});

test.each([
  { target: "session", accepts: acceptsSession },
  { target: "values", accepts: acceptsValues },
])("both languages accept and refuse the same inputs: $target", async ({ target, accepts }) => {
  const inPython = await fuzzing.verdicts(target);
  expect(inPython.size).toBeGreaterThan(200);
  const different = [...inPython].filter(([file, verdict]) => accepts(readFileSync(file)) !== verdict);
  expect(different).toEqual([]);
});

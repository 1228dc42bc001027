// `npm run fuzz [-- --minutes N] [--target NAME] [--language NAME]`: coverage-guided fuzzing, both languages at once.
// `… -- --target NAME --language NAME --input FILE`: one input again. `… -- --keep`: what was found joins the corpus.

import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { keptTargets, prepareFuzzing, reportOf, targets } from "./lib/fuzz.mjs";
import { main, say } from "./lib/say.mjs";
import { setUpMachine } from "./lib/setup.mjs";

const roundSeconds = 30;
const options = {
  minutes: { type: "string", default: "1" },
  target: { type: "string" },
  language: { type: "string" },
  input: { type: "string" },
  keep: { type: "boolean", default: false },
};

await main(async () => {
  const { minutes, target, language, input, keep } = parseArgs({ options }).values;
  const pyisolate = await setUpMachine({ pythons: ["3.11", "3.13"] });
  const chosen = new Map(Object.entries(targets).filter(([name]) => target === undefined || name === target));
  const languages = ["typescript", "python"].filter((name) => language === undefined || name === language);
  const seconds = Number(minutes) * 60;
  if (chosen.size === 0 || languages.length === 0 || !(seconds >= 1)) {
    say(`Targets: ${Object.keys(targets).join(", ")}. Languages: typescript, python. Minutes: a number, 0.1 or more.`);
    return 2;
  }
  const fuzzing = await prepareFuzzing(pyisolate);
  if (input !== undefined) return reproduce(fuzzing, { target, language, file: resolve(input) });
  if (keep) return keepAll(fuzzing, keptTargets);
  return fuzzAll(fuzzing, chosen, languages, seconds);
});

async function reproduce({ reproduce }, run) {
  if (run.target === undefined || run.language === undefined) {
    say("Say which --target and --language the input is for.");
    return 2;
  }
  const { exitCode, output } = await reproduce(run);
  process.stderr.write(output);
  console.log(exitCode === 0 ? "no crash" : "crash");
  return exitCode === 0 ? 0 : 1;
}

async function keepAll({ keep }, chosen) {
  for (const target of chosen) console.log(`${target}: ${await keep(target)} inputs in tests/fuzz/corpus`);
}

/** Rounds of all targets until the time is over, so that a line is never far; a crash ends it. */
async function fuzzAll({ fuzz }, chosen, languages, seconds) {
  const endMs = performance.now() + seconds * 1000;
  const totals = new Map();
  let isGoingOn = true;
  for (let left = seconds; isGoingOn && left >= 1; left = (endMs - performance.now()) / 1000) {
    const share = Math.max(1, Math.round(Math.min(roundSeconds, left / chosen.size)));
    for (const [target, known] of chosen) {
      const running = languages.filter((language) => known.includes(language));
      const results = await Promise.all(running.map((language) => fuzz({ language, target, seconds: share })));
      for (const result of results) {
        say(reportOf(result));
        addTo(totals, result);
        isGoingOn &&= result.crash === undefined;
      }
    }
  }
  for (const total of totals.values()) console.log(reportOf(total));
  const inputs = [...totals.values()].reduce((sum, total) => sum + total.inputs, 0);
  console.log(`${inputs} inputs in all, ${isGoingOn ? "no crash" : "with a crash"}`);
  return isGoingOn ? 0 : 1;
}

function addTo(totals, { inputs, seconds, newEntries, ...result }) {
  const name = `${result.target} ${result.language}`;
  const sum = totals.get(name) ?? { inputs: 0, seconds: 0, newEntries: 0 };
  totals.set(name, {
    ...result,
    inputs: sum.inputs + inputs,
    seconds: sum.seconds + seconds,
    newEntries: sum.newEntries + newEntries,
  });
}

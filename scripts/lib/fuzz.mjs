// Coverage-guided fuzzing of both languages, each in a container: jazzer.js, whose addon needs a newer C library than
// Debian 12 has, runs this machine's Node in the image of the Python 3.13 tools (Debian 13); atheris, whose wheel is for
// Python 3.11, has an image of its own. Both are libFuzzer: same options, and the same input means the same to both.

import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { ensurePythonImage } from "./python.mjs";
import { SetupError } from "./say.mjs";
import { repository, runTool } from "./tool.mjs";

const root = join(import.meta.dirname, "../..");
const work = join(root, "out/fuzz");
const kept = join(root, "tests/fuzz/corpus");
/** `work`, where a fuzzer sees it. */
const workThere = "/work";
const nodeThere = "/usr/local/bin/node";

/** After this long with one input the code hangs. */
const hangSeconds = 10;
const maxInputBytes = 16 * 1024;

/** What is fuzzed: target → languages that have it. */
export const targets = {
  session: ["typescript", "python"],
  values: ["typescript", "python"],
  manifest: ["typescript"],
};

/** Those whose corpus is in the repository; what brings the YAML library everywhere would be too much of it. */
export const keptTargets = ["session", "values"];

/**
 * Makes what fuzzing needs: images, bundled targets, seeds. Gives `fuzz({language, target, seconds})`, which runs one
 * target and gives {language, target, inputs, seconds, newEntries, crash, output}: `crash` is the file of an input that crashed
 * it, "" where a run failed without one; `reproduce({language, target, file})`, `keep(target)`, and
 * `verdicts(target)`: what Python accepts, by file of the seeds and of the kept corpus.
 */
export async function prepareFuzzing(pyisolate) {
  await bundleTargets();
  await writeSeeds();
  const fuzzers = {
    typescript: nodeFuzzer(await ensurePythonImage(pyisolate, "python-tools", "3.13")),
    python: pythonFuzzer(await ensurePythonImage(pyisolate, "python-fuzz", "3.11")),
  };
  await requireNodeThere(fuzzers.typescript);
  return {
    fuzz: (run) => fuzz(fuzzers[run.language], run),
    reproduce: ({ language, target, file }) => reproduce(fuzzers[language], target, file),
    keep: (target) => keep(fuzzers, target),
    verdicts: (target) => verdicts(fuzzers.python, target),
  };
}

async function bundleTargets() {
  const { build } = await import("esbuild");
  await build({
    entryPoints: Object.keys(targets).map((target) => join(root, "tests/fuzz/typescript", `${target}.ts`)),
    outdir: join(work, "bundle"),
    bundle: true,
    platform: "node",
    format: "cjs",
    sourcemap: "inline",
    external: ["koffi"],
    logLevel: "error",
  });
}

/** Inputs to start from, made of what else there is in the repository. */
async function writeSeeds() {
  const { tsImport } = await import("tsx/esm/api");
  const { seeds } = await tsImport("../../tests/fuzz/seeds.ts", import.meta.url);
  for (const [target, inputs] of Object.entries(seeds())) {
    const folder = join(work, "seeds", target);
    rmSync(folder, { recursive: true, force: true });
    for (const made of [folder, join(work, "corpus", target)]) mkdirSync(made, { recursive: true });
    for (const [index, input] of inputs.entries()) writeFileSync(join(folder, String(index)), input);
  }
}

/** `command`: of a target, without the folders and options of libFuzzer. */
function nodeFuzzer(image) {
  const jazzer = `${repository}/node_modules/@jazzer.js/core/dist/cli.js`;
  // Of its own detectors only the one for polluted prototypes is of use here.
  const options = ["--sync", "--instrumentation_includes", workThere, "--disable_bug_detectors", "^(?!prototype)"];
  return {
    image,
    mounts: [{ type: "bind", source: process.execPath, target: nodeThere, write: false }],
    command: (target, folders, fuzzerOptions) => {
      const program = [nodeThere, jazzer, `${workThere}/bundle/${target}`];
      return [...program, ...options, ...folders, "--", ...fuzzerOptions];
    },
  };
}

function pythonFuzzer(image) {
  const folders = ["runtime-python/src", "tests/interop", "tests/fuzz/python"];
  return {
    image,
    env: {
      PATH: "/opt/env/bin:/usr/bin:/bin",
      PYTHONPATH: folders.map((folder) => `${repository}/${folder}`).join(":"),
    },
    // To keep a corpus the fuzzer starts itself again, so the target is a program.
    command: (target, inputs, fuzzerOptions) => [
      `${repository}/tests/fuzz/python/${target}.py`,
      ...inputs,
      ...fuzzerOptions,
    ],
  };
}

function run({ image, env, mounts = [] }, command) {
  const workMount = { type: "bind", source: work, target: workThere, write: true };
  return runTool({ image, command, env, mounts: [workMount, ...mounts] });
}

/** A Node that is linked against libraries of this machine only does not run elsewhere. */
async function requireNodeThere(fuzzer) {
  const { exitCode, output } = await run(fuzzer, [nodeThere, "--version"]);
  if (exitCode === 0) return;
  throw new SetupError(
    `Fuzzing TypeScript runs ${process.execPath} in a container, where it does not start:\n${output}`,
    "Use a Node as nodejs.org builds it: it brings its own libraries.",
  );
}

async function fuzz(fuzzer, { language, target, seconds }) {
  const crashes = `crashes/${language}-${target}`;
  mkdirSync(join(work, crashes), { recursive: true });
  const before = new Set(readdirSync(join(work, crashes)));
  const folders = [`${workThere}/corpus/${target}`, `${workThere}/seeds/${target}`];
  if (keptTargets.includes(target)) folders.push(`${repository}/tests/fuzz/corpus/${target}`);
  const command = fuzzer.command(target, folders, [
    `-max_total_time=${seconds}`,
    `-timeout=${hangSeconds}`,
    `-max_len=${maxInputBytes}`,
    `-dict=${repository}/tests/fuzz/tokens.dict`,
    `-artifact_prefix=${workThere}/${crashes}/`,
    "-print_final_stats=1",
    "-verbosity=0",
  ]);
  const { exitCode, output } = await run(fuzzer, command);
  const statistic = (name) => Number(new RegExp(`stat::${name}:\\s+(\\d+)`).exec(output)?.[1] ?? 0);
  const crash = readdirSync(join(work, crashes)).find((file) => !before.has(file));
  const inputs = statistic("number_of_executed_units");
  const hasFailed = exitCode !== 0 || inputs === 0;
  const file = crash === undefined ? "" : relative(root, join(work, crashes, crash));
  return {
    language,
    target,
    inputs,
    seconds,
    newEntries: statistic("new_units_added"),
    crash: hasFailed ? file : undefined,
    output,
  };
}

/** One line of figures; after a crash also the fuzzer's own words and what to do. */
export function reportOf({ language, target, inputs, seconds, newEntries, crash, output }) {
  const crashes = crash === undefined ? "no crash" : "CRASH";
  const figures = `${target} (${language}): ${inputs} inputs, ${Math.round(inputs / seconds)}/s, ${newEntries} new, ${crashes}`;
  if (crash === undefined) return figures;
  const words = output.trimEnd().split("\n").slice(-40).join("\n");
  const again = `npm run fuzz -- --language ${language} --target ${target} --input ${crash}`;
  return `${words}\n\n${figures}${crash === "" ? "" : `\n  input: ${crash}\n  again: ${again}`}`;
}

/** One input, with all that is printed. */
async function reproduce(fuzzer, target, file) {
  if (!existsSync(file)) throw new SetupError(`There is no file ${file}.`);
  cpSync(file, join(work, "input"));
  const options = [`-timeout=${hangSeconds}`, "-artifact_prefix=/tmp/"];
  return run(fuzzer, fuzzer.command(target, [`${workThere}/input`], options));
}

async function verdicts(fuzzer, target) {
  const folders = [
    [join(work, "seeds", target), `${workThere}/seeds/${target}`],
    [join(kept, target), `${repository}/tests/fuzz/corpus/${target}`],
  ];
  const accepted = new Map();
  for (const [here, there] of folders) {
    const program = ["python", `${repository}/tests/fuzz/python/verdicts.py`, target, there];
    const { exitCode, output } = await run(fuzzer, program);
    if (exitCode !== 0) throw new SetupError(`Python cannot judge the inputs of ${target}:\n${output}`);
    for (const [, name, verdict] of output.matchAll(/^(\S+) (True|False)$/gm)) {
      accepted.set(join(here, name), verdict === "True");
    }
  }
  return accepted;
}

/**
 * Puts into the repository's corpus the smallest set of found inputs that reach what the seeds do not. Gives its size,
 * in files.
 */
async function keep(fuzzers, target) {
  const folder = join(work, "kept", target);
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(work, "seeds", target), folder, { recursive: true });
  const found = [
    `${workThere}/kept/${target}`,
    `${workThere}/corpus/${target}`,
    `${repository}/tests/fuzz/corpus/${target}`,
  ];
  for (const language of targets[target]) {
    const fuzzer = fuzzers[language];
    const options = ["-merge=1", `-timeout=${hangSeconds}`, `-max_len=${maxInputBytes}`, "-artifact_prefix=/tmp/"];
    const { exitCode, output } = await run(fuzzer, fuzzer.command(target, found, options));
    if (exitCode !== 0) throw new SetupError(`The corpus of ${target} cannot be made smaller:\n${output}`);
  }
  for (const seed of readdirSync(join(work, "seeds", target))) rmSync(join(folder, seed));
  rmSync(join(kept, target), { recursive: true, force: true });
  cpSync(folder, join(kept, target), { recursive: true });
  return readdirSync(folder).length;
}

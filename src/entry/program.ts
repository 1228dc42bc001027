// Verbs and options of the command line. Results go to stdout, everything for people on the way to stderr.

import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { build } from "../commands/build.ts";
import { check } from "../commands/check.ts";
import type { CommandContext } from "../commands/context.ts";
import { inspect } from "../commands/inspect.ts";
import { prune } from "../commands/prune.ts";
import { run } from "../commands/run.ts";
import { ERROR_CODES, isPyisolateError } from "../errors.ts";
import { toJson } from "./json.ts";
import * as print from "./print.ts";
import { progressPrinter } from "./progress.ts";

/** Exit status after a signal, as shells count it. SIGHUP: the terminal was closed. */
const signalExit = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;
const signals = Object.keys(signalExit) as (keyof typeof signalExit)[];

/** Runs one command line and gives its exit status. */
export async function runProgram(argv: readonly string[], environment: NodeJS.ProcessEnv): Promise<number> {
  const abort = new AbortController();
  let exit = 0;
  const onSignal = (signal: NodeJS.Signals) => {
    const isSecond = exit !== 0;
    exit = signalExit[signal as keyof typeof signalExit];
    if (isSecond) process.exit(exit); // what stays behind is swept at the next start
    process.stderr.write(`\n${signal}: stopping …\n`);
    abort.abort(new Error(signal));
  };
  const onProgress = progressPrinter(
    (line) => process.stderr.write(line),
    () => performance.now(),
  );
  for (const signal of signals) process.on(signal, onSignal);
  try {
    await makeProgram({ environment, signal: abort.signal, onProgress }).parseAsync([...argv]);
    return exit;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : ERROR_CODES.USAGE.exit;
    if (exit !== 0) return exit;
    print.failure(error);
    return isPyisolateError(error) ? ERROR_CODES[error.code].exit : 1;
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
  }
}

function makeProgram(base: CommandContext): Command {
  const program = new Command("pyisolate")
    .description("Runs every Python node pack in its own container: own dependencies, enforced limits, a sandbox.")
    .version(packageVersion())
    .showHelpAfterError("(pyisolate --help lists the commands)")
    .exitOverride();
  /** A verb with the options all verbs have. Its result is printed as JSON with --json, else by `show`. */
  const verb = (usage: string, description: string): Command =>
    program.command(usage).description(description).option("--json", "print one JSON object on stdout").exitOverride();
  const withPolicy = (command: Command): Command =>
    command.option("--policy <file>", "the operator's policy (default: see docs/manifest.md)");
  const finish = <T>(options: { json?: boolean }, result: T, show: (result: T) => void): void => {
    if (options.json) process.stdout.write(`${toJson(result)}\n`);
    else show(result);
  };

  withPolicy(verb("check <dir>", "check a pack's manifest against the rules and the policy; needs no Docker")).action(
    async (directory, options) => finish(options, await check(directory, { ...base, ...options }), print.checked),
  );
  withPolicy(verb("build <dir>", "build a pack's images, or see that nothing changed")).action(
    async (directory, options) => finish(options, await build(directory, { ...base, ...options }), print.built),
  );
  withPolicy(verb("run <dir> <node>", "run one node of a pack in its container"))
    .option("--input <name=value>", "an input, read by its declared type; pictures are files", collect, [])
    .option("--output <file>", "where to write the node's picture (again for a second one)", collect, [])
    .option("--timeout <seconds>", "give up after this time (default: the manifest's timeout)")
    .action(async (directory, node, options) => {
      const { input: inputs, output: outputs, timeout, ...rest } = options;
      const result = await run({ directory, node, inputs, outputs, timeout }, { ...base, ...rest });
      finish(options, result, print.ran);
    });
  withPolicy(verb("inspect <dir>", "show what a pack asks for and gets, its images and its nodes")).action(
    async (directory, options) => finish(options, await inspect(directory, { ...base, ...options }), print.inspected),
  );
  verb("prune", "remove what is left of programs that died, and images that no pack uses any more")
    .option("--all", "also remove the current images of every pack")
    .option("--dry-run", "only say what would be removed")
    .action(async (options) => finish(options, await prune(options, base), print.pruned));
  return program;
}

function packageVersion(): string {
  const file = new URL("../../package.json", import.meta.url); // the same from src/entry and dist/entry
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

function collect(value: string, earlier: string[]): string[] {
  return [...earlier, value];
}

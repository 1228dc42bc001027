// Text for people. Results go to stdout, failures to stderr.

import type { BuildResult } from "../commands/build.ts";
import type { CheckResult } from "../commands/check.ts";
import type { InspectResult } from "../commands/inspect.ts";
import type { prune } from "../commands/prune.ts";
import type { RunResult } from "../commands/run.ts";
import { isPyisolateError } from "../errors.ts";
import { toJson } from "./json.ts";

type PruneResult = Awaited<ReturnType<typeof prune>>;

/** What failed, what was printed last, where the pack's code raised, and the next step. */
export function failure(error: unknown): void {
  process.stderr.write(`${printable(failureLines(error).join("\n"))}\n`);
}

/** Text of packs must not steer the reader's terminal: control characters other than line breaks and tabs are shown as escapes. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function failureLines(error: unknown): string[] {
  if (!isPyisolateError(error)) return [`internal error: ${(error as Error)?.stack ?? String(error)}`];
  const { remote, logTail, next } = error.details;
  return [
    `error ${error.code}: ${error.message}`,
    ...(remote === undefined || remote.traceback === "" ? [] : ["", remote.traceback.trimEnd()]),
    ...(logTail === undefined || logTail.length === 0
      ? []
      : ["", "last lines:", ...logTail.map((line) => `  ${line}`)]),
    ...(next === undefined ? [] : ["", next]),
  ];
}

export function checked(result: CheckResult): void {
  const count = result.dependencies.length;
  say(
    `${result.file}: valid. ${result.name} ${result.version}, Python ${result.python}, ${count} ${count === 1 ? "dependency" : "dependencies"}.`,
  );
}

export function built(result: BuildResult): void {
  const builtLinks = result.links.filter((link) => link.state === "built").length;
  say(
    `${result.name}: ${builtLinks === 0 ? "nothing changed" : `${builtLinks} of ${result.links.length} links built`}, image ${result.image}`,
  );
}

export function ran(result: RunResult): void {
  for (const output of result.outputs) say(typeof output === "string" ? output : toJson(output));
  process.stderr.write(`${result.node}: ${result.ms} ms, ${result.bytesCopied} tensor bytes copied in\n`);
}

export function inspected(result: InspectResult): void {
  say(`${result.name} ${result.version} (${result.file})`);
  for (const [key, value] of Object.entries(result.manifest)) say(`  ${key}: ${toJson(value)}`);
  say(
    `image: ${result.image.reference ?? "not known before its first build"}${result.image.present ? "" : " (to be built)"}`,
  );
  if (result.nodes === null) {
    say("nodes: known once the pack was loaded");
    return;
  }
  for (const node of result.nodes) {
    const inputs = node.inputs.map((input) => `${input.name}${input.required ? "" : "?"}: ${input.type}`);
    say(`node ${node.id}(${inputs.join(", ")}) → ${node.outputs.map((output) => output.type).join(", ") || "nothing"}`);
  }
}

export function pruned(result: PruneResult): void {
  const verb = result.isDryRun ? "would remove" : "removed";
  for (const container of result.containers) say(`${verb} container ${container}`);
  for (const image of result.images) say(`${verb} image ${image.reference} (${(image.bytes / 1e6).toFixed(0)} MB)`);
  if (result.containers.length + result.images.length === 0) say("nothing to remove");
}

function say(line: string): void {
  process.stdout.write(`${printable(line)}\n`);
}

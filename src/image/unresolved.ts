// Unresolved: uv's refusal, in its own words, with the manifest line it is about. Pure.

import { PyisolateError } from "../errors.ts";
import { formatPosition, type Manifest, type SourcePosition } from "../manifest/manifest.ts";
import { normalizeName, packageName, type Requirement } from "./requirements.ts";

/** uv's ways of saying that the requirements themselves are at fault, not the network or the machine. */
const refusals =
  /No solution found|unsatisfiable|Couldn't parse requirement|Failed to parse|was not found in the package registry|no usable wheels|Building source distributions .* is disabled/;

/** uv's ways of saying that one distribution, which it names, cannot be had. An index that fails names none. */
const faults =
  /^(?:Failed to (?:read|fetch|download|extract|build|download and build|inspect) `|The wheel filename |Requested package name )/;

/** In the reason for a fault: where the distribution lies is out of reach, whatever it is. */
const outOfReach = /Request failed|error sending request|HTTP status|response body|timed out/;

/** The error for a failed resolution or installation; undefined when the log shows another kind of failure. */
export function explainUnresolved(
  error: PyisolateError,
  manifest: Manifest,
  requirements: readonly Requirement[],
  logLines: readonly string[],
): PyisolateError | undefined {
  const reason = joinReason(logLines);
  if (!refusals.test(reason) && !faults.test(reason)) return undefined;
  const at = positionOf(reason, requirements) ?? manifest.stated.get("dependencies") ?? { line: 1, column: 1 };
  return new PyisolateError(
    "DEPENDENCY_UNRESOLVED",
    `${formatPosition(manifest.file, at)}: ${reason}`,
    { reason, at, logTail: logLines.slice(-20), next: nextStep(reason) },
    error,
  );
}

function nextStep(reason: string): string {
  if (!faults.test(reason)) return "Change the versions asked for in `dependencies`, or `python`.";
  if (outOfReach.test(reason))
    return "Check the address and this machine's network; a download may work the next time.";
  return "Mend or replace what the line names, or ask for another version of it.";
}

/** Where uv finds the wheels of the pack's own folder in a build step. */
const wheelFolder = /(?:file:\/\/)?\/run\/build\/lock\/wheels\//g;

/** uv breaks its reason into lines and draws a frame around them: one sentence again. */
function joinReason(logLines: readonly string[]): string {
  const start = logLines.findIndex((line) => /^\s*(×|error:)/.test(line));
  return withoutOutput(logLines.slice(Math.max(start, 0)))
    .map((line) => line.replace(/^[\s×│╰├─▶]+/u, "").trim())
    .filter((line) => line !== "")
    .join(" ")
    .replace(/^error: /, "")
    .replace(/:? cause: /g, ": ")
    .replace(wheelFolder, "");
}

/** Of what a program printed that uv ran, as a build does, only the last line: the log has the others. */
function withoutOutput(lines: readonly string[]): string[] {
  const kept: string[] = [];
  let isOutput = false;
  for (const [index, line] of lines.entries()) {
    if (/^\s*\[std(?:out|err)\]$/.test(line)) isOutput = true;
    else if (/^\s*(?:hint|error|cause):/.test(line)) isOutput = false;
    const isLast = index + 1 === lines.length || /^\s*(?:hint|error|cause):/.test(lines[index + 1] as string);
    if (!isOutput || isLast) kept.push(line);
  }
  return kept;
}

/** Position of the requirement that the reason is about: the one whose address or file it names, else the first it names. */
function positionOf(reason: string, requirements: readonly Requirement[]): SourcePosition | undefined {
  const words = reason.split(/[\s`()]+/).map((word) => word.replace(/[.:,]+$/, ""));
  const isNamed = (place: string | undefined) =>
    place !== undefined && words.some((word) => word === place || word.endsWith(`/${place}`));
  const byPlace =
    requirements.find(({ line }) => isNamed(addressOf(line))) ?? requirements.find(({ line }) => isNamed(fileOf(line)));
  return byPlace?.at ?? positionOfName(reason, requirements);
}

function addressOf(line: string): string | undefined {
  return /https?:\/\/\S+/.exec(line)?.[0];
}

/** Name of the file that a path or an address leads to. */
function fileOf(line: string): string | undefined {
  const path = line.startsWith("./") ? line : addressOf(line)?.replace(/[?#].*$/, "");
  return path === undefined ? undefined : /[^/]+$/.exec(path)?.[0];
}

/** Position of the requirement whose package the reason names first. */
function positionOfName(reason: string, requirements: readonly Requirement[]): SourcePosition | undefined {
  const named = [...reason.matchAll(/[A-Za-z0-9][A-Za-z0-9._-]*/g)].map(([name]) =>
    normalizeName(name.replace(/[._-]+$/, "")),
  );
  let first: { readonly index: number; readonly at: SourcePosition } | undefined;
  for (const { line, at } of requirements) {
    const index = named.indexOf(packageName(line));
    if (at !== undefined && index !== -1 && (first === undefined || index < first.index)) first = { index, at };
  }
  return first?.at;
}

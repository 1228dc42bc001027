// Unresolved: uv's refusal, in its own words, with the manifest line it is about. Pure.

import { PyisolateError } from "../errors.ts";
import { formatPosition, type Manifest, type SourcePosition } from "../manifest/manifest.ts";
import { normalizeName, packageName, type Requirement } from "./requirements.ts";

/** uv's ways of saying that the requirements themselves are at fault, not the network or the machine. */
const refusals =
  /No solution found|unsatisfiable|Couldn't parse requirement|Failed to parse|was not found in the package registry|no usable wheels|Building source distributions .* is disabled/;

/** The error for a failed resolution; undefined when the log shows another kind of failure. */
export function explainUnresolved(
  error: PyisolateError,
  manifest: Manifest,
  requirements: readonly Requirement[],
  logLines: readonly string[],
): PyisolateError | undefined {
  const reason = joinReason(logLines);
  if (!refusals.test(reason)) return undefined;
  const at = positionOf(reason, requirements) ?? manifest.stated.get("dependencies") ?? { line: 1, column: 1 };
  return new PyisolateError(
    "DEPENDENCY_UNRESOLVED",
    `${formatPosition(manifest.file, at)}: ${reason}`,
    { reason, at, logTail: logLines.slice(-20), next: "Change the versions asked for in `dependencies`, or `python`." },
    error,
  );
}

/** uv breaks its reason into lines and draws a frame around them: one sentence again. */
function joinReason(logLines: readonly string[]): string {
  const start = logLines.findIndex((line) => /^\s*(×|error:)/.test(line));
  return logLines
    .slice(Math.max(start, 0))
    .map((line) => line.replace(/^[\s×│╰├─▶]+/u, "").trim())
    .filter((line) => line !== "")
    .join(" ")
    .replace(/^error: /, "")
    .replace(/:? cause: /g, ": ");
}

/** Position of the requirement that the reason names first. */
function positionOf(reason: string, requirements: readonly Requirement[]): SourcePosition | undefined {
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

// Requirement: the shape of one entry of `dependencies`. What exists and fits together is for uv to say.
// An entry can never become an option, a second line, a variable or a path outside the pack's folder.

import type { DependencyKind } from "./manifest.ts";
import { quote, visible } from "./text.ts";
import { isPythonVersion } from "./versions.ts";

export type RequirementShape =
  | { readonly kind: DependencyKind; readonly needsBuild: boolean }
  | { readonly problem: string };

const EXAMPLES = 'such as "numpy==1.26.4", "git+https://example.com/repo.git@v1.0" or "./wheels/x.whl"';
const LONGEST = 1000;

// biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the purpose
const LINE_BREAK_OR_CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
const OPTION = /(?:^|\s)(-[^\s=]*)/;
const NAME = /^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?/i;
const EXTRAS = /^\[\s*(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?(?:\s*,\s*[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)*)?\s*\]/i;
const CLAUSE = /^(===|==|!=|<=|>=|~=|<|>)\s*(.*)$/;
const URL_SHAPE =
  /^(git\+)?(https?|ssh):\/\/(?:[\w.~%+:-]+@)?[a-z0-9][a-z0-9.-]*(?::\d{1,5})?(\/[\w.~:/?#@!&*+,=%[\]-]*)?$/i;
const PATH_SHAPE = /^\.\/[\w.+@~!=-]+(?:\/[\w.+@~!=-]+)*\/?$/;
const MARKER_TOKEN =
  /^(?:\(|\)|===|==|!=|<=|>=|~=|<|>|(?:and|or|not\s+in|in)\b|"[^"'$\\`]*"|'[^"'$\\`]*'|(?:python_version|python_full_version|os_name|sys_platform|platform_release|platform_system|platform_version|platform_machine|platform_python_implementation|implementation_name|implementation_version|extra)\b)\s*/;

/** Reads one requirement. The problem names what is wrong and quotes the entry. */
export function readRequirement(text: string): RequirementShape {
  const problem = wholeProblem(text);
  if (problem !== undefined) return { problem };
  const entry = text.trim();
  if (/^(?:\.{0,2}\/|\.\.?$|~|file:)|\\/i.test(entry)) return readPath(entry);
  if (/^[a-z+]+:\/\//i.test(entry)) return readUrl(entry);
  if (!entry.includes("://") && /\.whl$|^[\w.-]+\//.test(entry)) return readPath(entry);
  return readNamed(entry);
}

function wholeProblem(text: string): string | undefined {
  if (LINE_BREAK_OR_CONTROL.test(text)) {
    return `${quote(text)} has a line break or another control character; expected one dependency on one line`;
  }
  if (text.length > LONGEST) return `${quote(text)} has ${text.length} characters, expected at most ${LONGEST}`;
  if (text.trim() === "") return `the entry is empty, expected a dependency ${EXAMPLES}`;
  const option = OPTION.exec(text.split(";")[0] ?? "")?.[1];
  if (option === undefined) return undefined;
  const remedy = /^(?:-i$|--(?:extra-)?index-url)/.test(option)
    ? "; other indexes are asked for with the key indexes"
    : /^(?:-f$|--find-links)/.test(option)
      ? "; other places are asked for with the key find_links"
      : "";
  return `${quote(text)} has the option ${quote(option)}, and options are not allowed here${remedy}; expected a dependency ${EXAMPLES}`;
}

function readPath(entry: string): RequirementShape {
  if (entry.split(/[\\/]/).includes("..")) {
    return {
      problem: `${quote(entry)} climbs out of a folder with ".."; expected a path inside the pack's folder, such as "./wheels/x.whl"`,
    };
  }
  if (!PATH_SHAPE.test(entry)) {
    return {
      problem: `${quote(entry)} is not a path inside the pack's folder; expected "./" and then names without spaces, such as "./wheels/x.whl"`,
    };
  }
  return { kind: "path", needsBuild: !entry.endsWith(".whl") };
}

function readUrl(entry: string): RequirementShape {
  const [url = "", marker] = splitOnce(entry, /\s+;/);
  const match = URL_SHAPE.exec(url);
  const path = match?.[3] ?? "";
  if (match === null || (match[1] === undefined && /^ssh$/i.test(match[2] ?? "")) || path.includes("@-")) {
    return {
      problem: `${quote(entry)} is not a URL that can be installed from; expected https://…/x.whl or git+https://…@tag`,
    };
  }
  const problem = marker === undefined ? undefined : markerProblem(entry, marker);
  if (problem !== undefined) return { problem };
  if (match[1] !== undefined) return { kind: "git", needsBuild: true };
  return { kind: "url", needsBuild: !/\.whl$/i.test(path.split(/[?#]/)[0] ?? "") };
}

function readNamed(entry: string): RequirementShape {
  const name = NAME.exec(entry)?.[0] ?? "";
  if (name === "") return { problem: `${quote(entry)} is not a dependency; expected one ${EXAMPLES}` };
  const afterName = entry.slice(name.length).trimStart();
  const extras = EXTRAS.exec(afterName)?.[0] ?? "";
  const rest = afterName.slice(extras.length).trimStart();
  if (rest.startsWith("@")) {
    const url = rest.slice(1).trim();
    return /^[a-z+]+:\/\//i.test(url) && !/^file:/i.test(url)
      ? readUrl(url)
      : { problem: `${quote(entry)} has no URL after "@"; expected https://… or git+https://…` };
  }
  const [versions = "", marker] = splitOnce(rest, /;/);
  const problem =
    versionsProblem(entry, versions.trim()) ?? (marker === undefined ? undefined : markerProblem(entry, marker));
  return problem === undefined ? { kind: "index", needsBuild: false } : { problem };
}

function versionsProblem(entry: string, text: string): string | undefined {
  if (text === "") return undefined;
  const inner = /^\((.*)\)$/.exec(text)?.[1] ?? text;
  for (const clause of inner.split(",")) {
    const match = CLAUSE.exec(clause.trim());
    if (match === null) {
      return `${quote(entry)} is not a dependency: ${quote(clause.trim())} is no version condition, expected ==, !=, <=, >=, <, >, ~= or === and a version`;
    }
    const [, operator = "", version = ""] = match;
    if (!isVersionFor(operator, version.trim())) {
      return `impossible version ${quote(version.trim())} after ${operator} in ${quote(entry)}, expected one such as 1.26.4`;
    }
  }
  return undefined;
}

function isVersionFor(operator: string, version: string): boolean {
  if (operator === "===") return /^[\w.+!-]+$/.test(version);
  const isEquality = operator === "==" || operator === "!=";
  const stem = isEquality && version.endsWith(".*") ? version.slice(0, -2) : version;
  if (!isPythonVersion(stem) || (stem.includes("+") && !isEquality)) return false;
  return operator !== "~=" || /^v?(?:\d+!)?\d+\.\d/i.test(stem);
}

function markerProblem(entry: string, marker: string): string | undefined {
  let left = marker.trim();
  if (left === "") return `${quote(entry)} has nothing after ";", expected a condition such as python_version < "3.12"`;
  while (left !== "") {
    const token = MARKER_TOKEN.exec(left)?.[0];
    if (token === undefined) {
      return `${quote(entry)} has a condition that cannot be read at ${quote(visible(left))}, expected one such as python_version < "3.12"`;
    }
    left = left.slice(token.length);
  }
  return undefined;
}

function splitOnce(text: string, separator: RegExp): [string, string | undefined] {
  const match = separator.exec(text);
  return match === null ? [text, undefined] : [text.slice(0, match.index), text.slice(match.index + match[0].length)];
}

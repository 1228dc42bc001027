// Pins: the lines of a lock. Pure, and closed: a version with its hashes, a wheel of the pack's folder, or a URL that the
// manifest itself names. Anything else (an option, an index, an include) is refused before uv could obey it.

import { PyisolateError } from "../errors.ts";
import { readRequirement } from "../manifest/requirement.ts";
import type { Requirements } from "./requirements.ts";

/** One thing to install. */
export interface Pin {
  readonly requirement: string;
  /** sha256 in hex; at least one. */
  readonly hashes: readonly string[];
}

const pinLine = /^(\S.*?) *\\$/;
const hashLine = /^ +--hash=sha256:([0-9a-f]{64})( *\\)?$/;
const version = /^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*(?: *;.*)?$/;
const namedUrl = /^[A-Za-z0-9][A-Za-z0-9._-]* @ (\S+)$/;

/** Lines of a lock, comments included. Raises DEPENDENCY_UNRESOLVED with `from` and the number of the first bad one. */
export function parsePins(lines: readonly string[], asked: Requirements, from: string): readonly Pin[] {
  const pins: Pin[] = [];
  let open: { readonly requirement: string; readonly hashes: string[] } | undefined;
  for (const [index, line] of lines.entries()) {
    if (open === undefined) {
      if (/^ *(#.*)?$/.test(line)) continue;
      const requirement = pinLine.exec(line)?.[1] ?? "";
      if (!isPin(requirement, asked))
        throw refusal(line, `${from}:${index + 1}`, "a version, wheel or URL the manifest asks for");
      open = { requirement, hashes: [] };
    } else {
      const [, hash, continues] = hashLine.exec(line) ?? [];
      if (hash === undefined) throw refusal(line, `${from}:${index + 1}`, `a hash of ${open.requirement}`);
      open.hashes.push(hash);
      if (continues !== undefined) continue;
      pins.push(open);
      open = undefined;
    }
  }
  if (open !== undefined) throw refusal("", `${from}:${lines.length}`, `a hash of ${open.requirement}`);
  return pins;
}

/** The lines uv gets. */
export function formatPins(pins: readonly Pin[]): string {
  return pins
    .map(({ requirement, hashes }) => [requirement, ...hashes.map((hash) => `    --hash=sha256:${hash}`)].join(" \\\n"))
    .join("\n");
}

function isPin(text: string, { entries, wheels }: Requirements): boolean {
  if (text.startsWith("./")) return wheels.some(({ name }) => text === `./wheels/${name}`);
  const url = namedUrl.exec(text)?.[1];
  if (url !== undefined) return entries.some(({ line }) => /https?:\/\/\S+/.exec(line)?.[0] === url);
  // What uv could take for an option or a comment has no place in a marker.
  if (!version.test(text) || /--|#/.test(text)) return false;
  const shape = readRequirement(text);
  return "kind" in shape && shape.kind === "index";
}

function refusal(line: string, where: string, expected: string): PyisolateError {
  const shown = line === "" ? "the end of the lock" : JSON.stringify(line.slice(0, 200));
  return new PyisolateError("DEPENDENCY_UNRESOLVED", `${where}: ${shown}, expected ${expected}`, {
    next: "Remove the lock; the dependencies are then resolved again.",
  });
}

// Text: how what a user wrote is shown in a message. Must not know YAML or schemas.
// Nothing here lets a control character through: messages reach terminals.

import { closest, distance } from "fastest-levenshtein";

const SHOWN_CHARACTERS = 80;

/** Controls, line separators and direction marks: what could change how the rest of a message looks. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the purpose
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** `text` with every character that does not show itself as an escape. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** `text` in double quotes on one line, its end cut off when it is long. */
export function quote(text: string): string {
  const shown = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
  return visible(JSON.stringify(shown));
}

/** A value of the data model of JSON, in a few words. */
export function describe(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object") return "a mapping";
  return typeof value === "number" || typeof value === "boolean" ? String(value) : `a ${typeof value}`;
}

/** "the nearest known …" for a misspelt word, all known ones when none is near. */
export function nearestHint(word: string, known: readonly string[], noun: string): string {
  if (known.length === 0) return `there are no ${noun}s`;
  const folded = word.toLowerCase();
  const nearest = closest(folded, known);
  if (distance(folded, nearest) <= Math.max(2, word.length / 2))
    return `the nearest known ${noun} is ${quote(nearest)}`;
  return `known ${noun}s are ${known.join(", ")}`;
}

/** JSON pointer → how the place is called in a message: "/mounts/0/source" is `mounts[0].source`. */
export function placeName(pointer: string): string {
  return pointer
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .map((part, index) => (/^\d+$/.test(part) ? `[${part}]` : `${index === 0 ? "" : "."}${visible(part)}`))
    .join("");
}

/** One more step of a JSON pointer. */
export function pointerTo(parent: string, key: string | number): string {
  return `${parent}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

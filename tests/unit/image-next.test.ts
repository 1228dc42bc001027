// Every error of engine, images and store tells the next step.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const source = join(import.meta.dirname, "../../src");

/** Arguments of every `new PyisolateError(…)` of a text. */
function errorsOf(text: string): string[] {
  return text.split("new PyisolateError(").slice(1).map(untilClosed);
}

/** Up to the parenthesis that closes the call. */
function untilClosed(text: string): string {
  let depth = 1;
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === "(") depth += 1;
    if (text[at] === ")") depth -= 1;
    if (depth === 0) return text.slice(0, at);
  }
  return text;
}

test.each(["engine", "image", "store"])("each of src/%s", (folder) => {
  const files = readdirSync(join(source, folder)).map((name) => readFileSync(join(source, folder, name), "utf8"));
  // An error that is copied keeps the details it had.
  expect(files.flatMap(errorsOf).filter((call) => !/\bnext\b|\.\.\.error\.details/.test(call))).toEqual([]);
});

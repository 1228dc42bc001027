// docs/errors.md, held against the code.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ERROR_CODES } from "../../src/errors.ts";

test("docs/errors.md lists every code with its exit status and meaning, and no other", () => {
  const text = readFileSync(join(import.meta.dirname, "../../docs/errors.md"), "utf8");
  const rows = [...text.matchAll(/^\| `(\w+)` +\| (\d+) +\| (.*?) +\|$/gm)].map(([, code, exit, meaning]) => [
    code,
    { exit: Number(exit), meaning },
  ]);
  expect(Object.fromEntries(rows)).toEqual(ERROR_CODES);
});

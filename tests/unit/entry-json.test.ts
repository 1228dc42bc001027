import { expect, test } from "vitest";
import { toJson } from "../../src/entry/json.ts";

test.each<[unknown, string]>([
  [2n ** 64n, "18446744073709551616"],
  [Number.NaN, '"NaN"'],
  [-0, "-0.0"],
  [0.5, "0.5"],
  [["a", null, undefined], '["a",null,null]'],
  [{ a: 1n, b: undefined, c: { d: "ü\u2028" } }, '{"a":1,"c":{"d":"ü\u2028"}}'],
])("%o prints as %s", (value, text) => {
  expect(toJson(value)).toBe(text);
});

// Arbitrary: any value of the wire, for fast-check. As a lossless decoder gives it, so that what comes back can be compared.

import fc from "fast-check";
import { Float, Tuple, type Value } from "../../src/rpc/values.ts";

const key = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.integer(),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 200n }),
  fc.constant(null),
  fc.double({ noInteger: true, noNaN: true, noDefaultInfinity: true }),
);

/** `leaves`: further values beside those of the wire itself. */
export function anyValue(...leaves: fc.Arbitrary<Value>[]): fc.Arbitrary<Value> {
  return fc.letrec<{ value: Value }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.constant(null),
      fc.boolean(),
      fc.maxSafeInteger(),
      fc.double({ noInteger: true, noNaN: true, noDefaultInfinity: true }),
      fc.double().map((number) => new Float(Number.isInteger(number) ? number : Number.NaN)),
      fc.constantFrom(-0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY).map((number) => new Float(number)),
      fc.bigInt().filter((int) => int > 2n ** 53n || int < -(2n ** 53n)),
      fc.string({ unit: "binary" }),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => new Uint8Array(bytes)),
      fc.array(tie("value")),
      fc.array(tie("value")).map((items) => new Tuple(items)),
      fc.uniqueArray(key).map((items) => new Set<Value>(items)),
      fc.uniqueArray(fc.tuple(key, tie("value")), { selector: ([first]) => first }).map(normalDict),
      ...leaves,
    ),
  })).value;
}

/** As a decoder gives it: an object where every key is plain. */
function normalDict(entries: [Value, Value][]): Value {
  const isPlain = entries.every(([first]) => typeof first === "string" && /^[^$_0-9]/su.test(first));
  return isPlain ? Object.fromEntries(entries as [string, Value][]) : new Map(entries);
}

// Values against docs/protocol.md, the golden files, and values that nobody thought of.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  Float,
  IncomingAttachments,
  OutgoingAttachments,
  Tuple,
  type Value,
  ValueCodec,
} from "../../src/rpc/values.ts";
import { anyValue } from "../wire/arbitrary.ts";
import { evaluate, fromHex, type GoldenValue, invalid, values } from "../wire/golden.ts";

const codec = new ValueCodec();
const lossless = new ValueCodec({ isLossless: true });

function encode(value: Value): { json: string; attachments: string[] } {
  const attachments = new OutgoingAttachments();
  const json = JSON.stringify(codec.encode(value, attachments, 2));
  return { json, attachments: attachments.list.map((bytes) => Buffer.from(bytes).toString("hex")) };
}

test("nan equals nothing: tuples that hold it may be keys and elements side by side", () => {
  const json = '{"$set":[{"$tuple":[{"$float":"nan"},false]},{"$tuple":[{"$float":"nan"},false]}]}';
  expect((decode(json) as Set<Value>).size).toBe(2);
  expect(encode(decode(json)).json).toBe(json);
});

function decode(json: string, attachments: readonly string[] = [], by: ValueCodec = lossless): Value {
  const source = new IncomingAttachments(attachments.map((hex) => new Uint8Array(fromHex(hex))));
  const value = by.decode(JSON.parse(json), source);
  source.finish();
  return value;
}

test("keys take no more time and memory than their text: deep tuples, integers of millions of digits", () => {
  const deep = `${'{"$tuple":['.repeat(29)}1${"]}".repeat(29)}`;
  const started = performance.now();
  expect((decode(`{"$set":[${deep},2]}`) as Set<Value>).size).toBe(2);
  expect((decode(`{"$set":[{"$int":"0x1${"0".repeat(4_000_000)}"}]}`) as Set<Value>).size).toBe(1);
  expect(performance.now() - started).toBeLessThan(5000);
});

test("every tag of docs/protocol.md has a golden value, and every golden tag a row", () => {
  const protocol = readFileSync(join(import.meta.dirname, "../../docs/protocol.md"), "utf8");
  const table = /<!-- values -->\n([\s\S]*?)<!-- end -->/.exec(protocol)?.[1] ?? "";
  const tagsIn = (text: string) => new Set([...text.matchAll(/\{"(\$[a-z]+)":/g)].map(([, tag]) => tag));
  const documented = tagsIn(table);
  documented.delete("$ref"); // not in this version
  const golden = tagsIn([...values.values, ...values.tensors].map(({ json }) => json).join("\n"));
  expect([...golden].sort()).toEqual([...documented].sort());
});

test.each(values.values)("golden value, both ways: $name", ({ json, also = [], attachments = [], typescript }) => {
  const value = evaluate(typescript);
  expect([json, ...also]).toContain(encode(value).json);
  expect(encode(value).attachments).toEqual(attachments);
  for (const text of [json, ...also]) {
    const decoded = decode(text, attachments);
    expect(decoded).toStrictEqual(value);
    expect([json, ...also]).toContain(encode(decoded).json);
    expect(encode(decoded).attachments).toEqual(attachments);
  }
});

test.each(invalid.values)("refused by the decoder: $name", ({ json, attachments = [] }: GoldenValue) => {
  expect(() => decode(json, attachments)).toThrowError(expect.objectContaining({ code: "PROTOCOL_VIOLATION" }));
});

describe("TypeScript's own", () => {
  test.each<[string, Value, string]>([
    ["−0", -0, '{"$float":"-0"}'],
    ["NaN", Number.NaN, '{"$float":"nan"}'],
    ["Infinity", Number.POSITIVE_INFINITY, '{"$float":"inf"}'],
    ["number beyond the safe ones", 1e300, '{"$float":"1e+300"}'],
    ["bigint within the safe numbers", 5n, "5"],
    ["Float with a fraction", new Float(0.5), "0.5"],
    ["Map of plain keys", new Map([["a", 1]]), '{"a":1}'],
    ["empty Map", new Map(), "{}"],
    ["object without a prototype", Object.assign(Object.create(null), { a: 1 }), '{"a":1}'],
    ["object with the key toJSON", { toJSON: 1 }, '{"toJSON":1}'],
    ["object with a key of digits", { "1": "a" }, '{"$dict":[["1","a"]]}'],
  ])("%s is sent as %s", (_name, value, json) => {
    expect(encode(value).json).toBe(json);
  });

  test("a tagged float is read as a number", () => {
    expect(decode('[{"$float":"1"},{"$float":"-0"}]', [], codec)).toStrictEqual([1, -0]);
  });

  test("a key hidden by an escape is seen", () => {
    expect(() => decode('{"\\u005f_proto__":1}')).toThrow("__proto__");
  });

  test("what is sent is not changed by sending it", () => {
    const value = { a: [1, new Float(1), { b: new Tuple([1]) }] };
    const copy = structuredClone(value.a[0]);
    encode(value);
    expect(value).toStrictEqual({ a: [copy, new Float(1), { b: new Tuple([1]) }] });
  });

  const circle: Value[] = [];
  circle.push(circle);
  const circularMap = new Map<Value, Value>();
  circularMap.set(1, circularMap);
  const sparse = new Array(2) as Value[];
  test.each<[string, unknown, string]>([
    ["undefined", { a: [undefined] }, "undefined has no form on the wire (at a.0)"],
    ["a hole", sparse, "undefined"],
    ["a function", () => 1, "function"],
    ["a symbol", Symbol("x"), "symbol"],
    ["a date", new Date(0), "Date"],
    ["a Float32Array", new Float32Array(1), "Float32Array"],
    ["a circle", circle, "in a circle"],
    ["a circle of Maps", circularMap, "in a circle"],
    ["a set with an object", new Set([{}]), "cannot hash"],
    [
      "a Map with 1 and true",
      new Map<Value, Value>([
        [1, 1],
        [true, 2],
      ]),
      "equal in Python",
    ],
    [
      "a Map with equal bytes",
      new Map([
        [new Uint8Array(1), 1],
        [new Uint8Array(1), 2],
      ]),
      "equal in Python",
    ],
  ])("%s is refused", (_name, value, message) => {
    expect(() => encode(value as Value)).toThrowError(
      expect.objectContaining({ code: "VALUE_UNSUPPORTED", message: expect.stringContaining(message) }),
    );
  });

  test.each<[string, (inner: Value) => Value, number]>([
    ["array", (inner) => [inner], 1],
    ["object", (inner) => ({ a: inner }), 1],
    ["Tuple", (inner) => new Tuple([inner]), 2],
    ["Map", (inner) => new Map([[1, inner]]), 3],
  ])("nesting of %s is counted as the wire has it", (_name, wrap, levels) => {
    const nest = (times: number) => Array.from({ length: times }).reduce<Value>((inner) => wrap(inner), 0);
    const most = Math.floor((64 - 2) / levels);
    expect(() => encode(nest(most))).not.toThrow();
    expect(() => encode(nest(most + 1))).toThrow("nesting");
    expect(() => encode([...Array((64 - 2) % levels)].reduce<Value>((inner) => [inner], nest(most)))).not.toThrow();
  });
});

test("whatever is encoded is decoded to the same", () => {
  fc.assert(
    fc.property(anyValue(), (value) => {
      const { json, attachments } = encode(value);
      expect(decode(json, attachments)).toStrictEqual(value);
    }),
    { numRuns: 2000 },
  );
});

test("whatever JSON comes is decoded or refused, and nothing else is raised", () => {
  const tag = fc.constantFrom("$int", "$float", "$bytes", "$tuple", "$set", "$dict", "$tensor", "a", "_a");
  const tagged = fc.tuple(tag, fc.jsonValue()).map(([name, payload]) => ({ [name]: payload }));
  fc.assert(
    fc.property(fc.oneof(tagged, fc.array(tagged), fc.jsonValue()), (data) => {
      try {
        decode(JSON.stringify(data), ["00"]);
      } catch (error) {
        expect(error).toMatchObject({ code: "PROTOCOL_VIOLATION" });
      }
    }),
    { numRuns: 2000 },
  );
});

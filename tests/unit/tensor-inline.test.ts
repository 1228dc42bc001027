// The inline route: tensors as attachments, against the golden files.

import { describe, expect, test } from "vitest";
import { IncomingAttachments, OutgoingAttachments, type Value, ValueCodec } from "../../src/rpc/values.ts";
import { DTYPES } from "../../src/tensor/dtype.ts";
import { inlineTensors } from "../../src/tensor/inline.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { evaluate, fromHex, invalid, values } from "../wire/golden.ts";

const codec = new ValueCodec({ extension: inlineTensors, isLossless: true });

function decode(json: string, attachments: readonly string[], by = codec): Value {
  const source = new IncomingAttachments(attachments.map((hex) => new Uint8Array(fromHex(hex))));
  const value = by.decode(JSON.parse(json), source);
  source.finish();
  return value;
}

test.each(values.tensors)("golden tensor, both ways: $name", ({ json, attachments = [], typescript }) => {
  const value = evaluate(typescript);
  const sink = new OutgoingAttachments();
  expect(JSON.stringify(codec.encode(value, sink, 2))).toBe(json);
  expect(sink.list.map((bytes) => Buffer.from(bytes).toString("hex"))).toEqual(attachments);
  expect(decode(json, attachments)).toStrictEqual(value);
});

test("every dtype has a golden tensor", () => {
  const seen = new Set(values.tensors.map(({ json }) => /"dtype":"([^"]+)"/.exec(json)?.[1]));
  expect([...seen].sort()).toEqual(Object.keys(DTYPES).sort());
});

test.each(invalid.tensors)("refused: $name", ({ json, attachments = [] }) => {
  expect(() => decode(json, attachments)).toThrowError(expect.objectContaining({ code: "PROTOCOL_VIOLATION" }));
});

test("without the extension a tensor is refused in both directions", () => {
  const bare = new ValueCodec();
  const tensor = new Tensor("uint8", [1], new Uint8Array(1));
  expect(() => bare.encode(tensor, new OutgoingAttachments(), 0)).toThrow("class Tensor");
  expect(() => decode('{"$tensor":{"dtype":"uint8","shape":[1],"attachment":0}}', ["00"], bare)).toThrow("unknown tag");
});

test("every byte sent counts as copied by the route inline", () => {
  const sink = new OutgoingAttachments();
  const image = new Tensor("float32", [1, 2, 2, 3], new Uint8Array(48));
  codec.encode([image, { more: new Tensor("uint8", [5], new Uint8Array(5)) }], sink, 1);
  expect({ bytes: sink.bytesCopied, routes: sink.routes }).toEqual({ bytes: 53, routes: ["inline"] });
});

describe("Tensor", () => {
  test.each<[string, string, number[], number]>([
    ["an unknown dtype", "float31", [1], 4],
    ["too few bytes", "float32", [2], 4],
    ["a count below 0", "float32", [-1], 4],
    ["a count with a fraction", "float32", [0.5], 2],
    ["33 axes", "uint8", Array(33).fill(1), 1],
    ["more than any memory", "uint8", [2 ** 40, 2 ** 40], 1],
  ])("%s is TENSOR_INVALID", (_name, dtype, shape, bytes) => {
    expect(() => new Tensor(dtype as "uint8", shape, new Uint8Array(bytes))).toThrowError(
      expect.objectContaining({ code: "TENSOR_INVALID" }),
    );
  });
});

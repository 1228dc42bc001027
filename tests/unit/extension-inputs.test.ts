import { describe, expect, test } from "vitest";
import { prepareInputs } from "../../src/extension/inputs.ts";
import type { NodeInput, NodeSchema } from "../../src/extension/schema.ts";
import { Float, type Value } from "../../src/rpc/values.ts";
import { Tensor } from "../../src/tensor/tensor.ts";

function input(name: string, type: string, options: Record<string, Value> = {}, required = true): NodeInput {
  return { name, type, required, options };
}

function schemaOf(...inputs: NodeInput[]): NodeSchema {
  return { id: "Node", displayName: "", category: "", description: "", inputs, outputs: [], outputNode: false };
}

describe("prepareInputs", () => {
  test("a FLOAT travels as a float, whether given as 1, 1n or Float(1)", () => {
    const schema = schemaOf(input("x", "FLOAT"));
    for (const x of [1, 1n, new Float(1)]) expect(prepareInputs(schema, { x })).toEqual({ x: new Float(1) });
  });

  test("required inputs fall back to their default, optional ones stay absent", () => {
    const schema = schemaOf(
      input("a", "INT", { default: 3 }),
      input("b", "COMBO", { choices: ["first", "second"] }),
      input("c", "INT", { default: 4 }, false),
    );
    expect(prepareInputs(schema, {})).toEqual({ a: 3, b: "first" });
  });

  test("bounds hold for integers beyond 2^53", () => {
    const schema = schemaOf(input("seed", "INT", { min: 0, max: 2n ** 64n - 1n }));
    expect(prepareInputs(schema, { seed: 2n ** 64n - 1n })).toEqual({ seed: 2n ** 64n - 1n });
    expect(() => prepareInputs(schema, { seed: 2n ** 64n })).toThrow("INT of at most 18446744073709551615");
    expect(() => prepareInputs(schema, { seed: -1 })).toThrow("INT of at least 0");
  });

  test.each<[string, Value, string]>([
    ["INT", 1.5, "expects an integer (INT), got 1.5"],
    ["INT", true, "expects an integer (INT), got true"],
    ["FLOAT", "1", 'expects a number (FLOAT), got "1"'],
    ["BOOLEAN", 0, "expects true or false (BOOLEAN), got 0"],
    ["STRING", null, "expects text (STRING), got null"],
    ["IMAGE", [1], "expects a tensor (IMAGE), got a list"],
  ])("%s refuses %o", (type, value, message) => {
    expect(() => prepareInputs(schemaOf(input("x", type)), { x: value })).toThrow(message);
  });

  test("types that packs make up pass as they are", () => {
    const schema = schemaOf(input("x", "MY_THING"), input("y", "*"));
    const tensor = new Tensor("uint8", [1], new Uint8Array(1));
    expect(prepareInputs(schema, { x: { a: [1, "b"] }, y: tensor })).toEqual({ x: { a: [1, "b"] }, y: tensor });
  });

  test("an undeclared name is refused with the nearest one, also when it is a name of every object", () => {
    const schema = schemaOf(input("strength", "FLOAT"));
    expect(() => prepareInputs(schema, { strenght: 1 })).toThrow('nearest known input is "strength"');
    expect(() => prepareInputs(schema, JSON.parse('{"__proto__": 1}'))).toThrow("__proto__");
    expect(() => prepareInputs(schema, {})).toThrow('needs input "strength" (FLOAT)');
  });

  test.each<[string, unknown, string]>([
    ["nothing", null, "null"],
    ["a text", "x=1", '"x=1"'],
    ["a list", [1], "a list"],
    ["a Map", new Map([["x", 1]]), "a Map"],
    ["a tensor", new Tensor("uint8", [1], new Uint8Array(1)), "a tensor of uint8 [1]"],
  ])("%s in place of inputs is refused as such", (_name, given, shown) => {
    expect(() => prepareInputs(schemaOf(input("x", "INT")), given as Record<string, Value>)).toThrow(
      expect.objectContaining({
        code: "INPUT_INVALID",
        message: `node "Node" takes a mapping of input names to values, got ${shown}`,
        details: { next: "Its inputs: x." },
      }),
    );
  });
});

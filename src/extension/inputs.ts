// Inputs: what a host gives to a node, checked against the node's schema before anything is sent.
// Only what the schema declares is checked; types that ComfyUI packs make up pass as they are.

import { PyisolateError } from "../errors.ts";
import { nearestHint } from "../manifest/text.ts";
import { Float, type Value } from "../rpc/values.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { NodeInput, NodeSchema } from "./schema.ts";

export type NodeInputs = Readonly<Record<string, Value>>;

/**
 * The inputs as they go on the wire: declared FLOATs as floats, required inputs that were not given by their declared
 * default. Optional inputs that were not given stay absent, as in ComfyUI.
 * Raises INPUT_MISSING, and INPUT_INVALID for what is no mapping, an undeclared name, a wrong type, an unknown choice or a number out of range.
 */
export function prepareInputs(schema: NodeSchema, given: NodeInputs): Record<string, Value> {
  requireMapping(schema, given);
  for (const name of Object.keys(given)) {
    if (!schema.inputs.some((input) => input.name === name)) throw unknownInput(schema, name);
  }
  const prepared: Record<string, Value> = {};
  for (const input of schema.inputs) {
    const value = Object.hasOwn(given, input.name) ? given[input.name] : defaultOf(input);
    if (value !== undefined) prepared[input.name] = checked(schema, input, value);
    else if (input.required) throw missingInput(schema, input);
  }
  return prepared;
}

/** Programs in JavaScript may pass anything. */
function requireMapping(schema: NodeSchema, given: unknown): void {
  const prototype: unknown = given === null || typeof given !== "object" ? undefined : Object.getPrototypeOf(given);
  if (prototype === Object.prototype || prototype === null) return;
  throw new PyisolateError(
    "INPUT_INVALID",
    `node "${schema.id}" takes a mapping of input names to values, got ${describe(given as Value)}`,
    { next: `Its inputs: ${schema.inputs.map(({ name }) => name).join(", ") || "none"}.` },
  );
}

/** The error for an input name that the node does not declare. */
export function unknownInput(schema: NodeSchema, name: string): PyisolateError {
  const names = schema.inputs.map((input) => input.name);
  return new PyisolateError(
    "INPUT_INVALID",
    `node "${schema.id}" has no input "${name}": ${nearestHint(name, names, "input")}`,
    { next: `Its inputs: ${names.join(", ") || "none"}.` },
  );
}

function missingInput(schema: NodeSchema, input: NodeInput): PyisolateError {
  return new PyisolateError(
    "INPUT_MISSING",
    `node "${schema.id}" needs input "${input.name}" (${input.type}), which was not given`,
    { next: `Give it a value for ${input.name}.` },
  );
}

function defaultOf(input: NodeInput): Value | undefined {
  if (!input.required) return undefined;
  return input.options.default ?? (input.type === "COMBO" ? choicesOf(input)?.[0] : undefined);
}

/** The values a COMBO input accepts; undefined when the pack lists none (filled in by the host's front end). */
export function choicesOf(input: NodeInput): readonly Value[] | undefined {
  const choices = input.options.choices;
  return Array.isArray(choices) ? choices : undefined;
}

function checked(schema: NodeSchema, input: NodeInput, value: Value): Value {
  const refuse = (expected: string): PyisolateError =>
    new PyisolateError(
      "INPUT_INVALID",
      `input "${input.name}" of node "${schema.id}" expects ${expected}, got ${describe(value)}`,
      { next: `Give ${input.name} as ${expected}.` },
    );
  switch (input.type) {
    case "INT":
      if (typeof value !== "bigint" && !Number.isInteger(value)) throw refuse("an integer (INT)");
      return inRange(input, value as number | bigint, refuse);
    case "FLOAT": {
      if (typeof value !== "number" && typeof value !== "bigint" && !(value instanceof Float))
        throw refuse("a number (FLOAT)");
      const number = value instanceof Float ? value.value : Number(value);
      inRange(input, number, refuse);
      return new Float(number);
    }
    case "BOOLEAN":
      if (typeof value !== "boolean") throw refuse("true or false (BOOLEAN)");
      return value;
    case "STRING":
      if (typeof value !== "string") throw refuse("text (STRING)");
      return value;
    case "COMBO": {
      const choices = choicesOf(input);
      if (choices !== undefined && !choices.includes(value)) throw refuse(`one of ${choices.map(describe).join(", ")}`);
      return value;
    }
    case "IMAGE":
    case "MASK":
      if (!(value instanceof Tensor)) throw refuse(`a tensor (${input.type})`);
      return value;
    default:
      return value;
  }
}

function inRange<T extends number | bigint>(
  input: NodeInput,
  value: T,
  refuse: (expected: string) => PyisolateError,
): T {
  const { min, max } = input.options;
  if (isNumber(min) && value < min) throw refuse(`${input.type} of at least ${min}`);
  if (isNumber(max) && value > max) throw refuse(`${input.type} of at most ${max}`);
  return value;
}

function isNumber(value: Value | undefined): value is number | bigint {
  return typeof value === "number" || typeof value === "bigint";
}

function describe(value: Value): string {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (value instanceof Tensor) return `a tensor of ${value.dtype} [${value.shape.join(", ")}]`;
  if (value === null || typeof value !== "object") return String(value);
  return Array.isArray(value) ? "a list" : `a ${value.constructor?.name ?? "mapping"}`;
}

// Node schemas: what a pack says of its nodes, taken from the wire once and frozen.
// The worker's word is not believed: a malformed schema is the pack's error, never a crash of the host.

import { PyisolateError } from "../errors.ts";
import { IncomingAttachments, OutgoingAttachments, type Value, ValueCodec } from "../rpc/values.ts";

/** One input a node declares. */
export interface NodeInput {
  readonly name: string;
  /** ComfyUI type name: INT, FLOAT, BOOLEAN, STRING, COMBO, IMAGE, … */
  readonly type: string;
  readonly required: boolean;
  /** What the pack declared beside the type: default, min, max, step, tooltip, choices (COMBO) … */
  readonly options: Readonly<Record<string, Value>>;
}

export interface NodeOutput {
  readonly name: string;
  readonly type: string;
  /** The node gives a list of such values. */
  readonly isList: boolean;
}

export interface NodeSchema {
  readonly id: string;
  readonly displayName: string;
  readonly category: string;
  readonly description: string;
  readonly inputs: readonly NodeInput[];
  readonly outputs: readonly NodeOutput[];
  /** The node is an end of a graph: it is run for its effect. */
  readonly outputNode: boolean;
}

/** What `load` of docs/protocol.md answers. */
export interface LoadedPack {
  readonly python: string;
  /** Version of every installed distribution, by lower-case name, as the pack's own Python reports it. */
  readonly packages: Readonly<Record<string, string>>;
  /** By node id, in the pack's order. */
  readonly schemas: ReadonlyMap<string, NodeSchema>;
}

/** Reads the answer to `load`. Raises PROTOCOL_VIOLATION, naming the field, when it has another shape. */
export function readLoadedPack(answer: Value): LoadedPack {
  const pack = record(answer, "load");
  const packages: Record<string, string> = {};
  for (const [name, version] of Object.entries(record(pack.packages, "load.packages"))) {
    packages[name] = text(version, `load.packages.${name}`);
  }
  const schemas = new Map<string, NodeSchema>();
  for (const [index, node] of list(pack.nodes, "load.nodes").entries()) {
    const schema = readSchema(node, `load.nodes[${index}]`);
    schemas.set(schema.id, schema);
  }
  return Object.freeze({ python: text(pack.python, "load.python"), packages: Object.freeze(packages), schemas });
}

/** The answer to `load` as text to keep; undefined when it holds more than text can (bytes, arrays). */
export function formatLoadedPack(answer: Value): string | undefined {
  const attachments = new OutgoingAttachments();
  const json = JSON.stringify(new ValueCodec().encode(answer, attachments, 0));
  return attachments.list.length === 0 ? json : undefined;
}

/** Reads what formatLoadedPack wrote. Raises PROTOCOL_VIOLATION. */
export function parseLoadedPack(text: string): LoadedPack {
  return readLoadedPack(new ValueCodec().decode(JSON.parse(text), new IncomingAttachments([])));
}

function readSchema(value: Value, where: string): NodeSchema {
  const node = record(value, where);
  return Object.freeze({
    id: text(node.id, `${where}.id`),
    displayName: text(node.display_name, `${where}.display_name`),
    category: text(node.category, `${where}.category`),
    description: text(node.description, `${where}.description`),
    inputs: Object.freeze(
      list(node.inputs, `${where}.inputs`).map((input, i) => readInput(input, `${where}.inputs[${i}]`)),
    ),
    outputs: Object.freeze(
      list(node.outputs, `${where}.outputs`).map((output, i) => readOutput(output, `${where}.outputs[${i}]`)),
    ),
    outputNode: flag(node.output_node, `${where}.output_node`),
  });
}

function readInput(value: Value, where: string): NodeInput {
  const input = record(value, where);
  return Object.freeze({
    name: text(input.name, `${where}.name`),
    type: text(input.type, `${where}.type`),
    required: flag(input.required, `${where}.required`),
    options: Object.freeze(record(input.options, `${where}.options`)),
  });
}

function readOutput(value: Value, where: string): NodeOutput {
  const output = record(value, where);
  return Object.freeze({
    name: text(output.name, `${where}.name`),
    type: text(output.type, `${where}.type`),
    isList: flag(output.is_list, `${where}.is_list`),
  });
}

/** A dict of the wire, which is a Map when one of its keys is not a plain one. */
export function record(value: Value | undefined, where: string): Record<string, Value> {
  if (value instanceof Map) {
    const entries = [...value].filter((entry): entry is [string, Value] => typeof entry[0] === "string");
    return Object.fromEntries(entries);
  }
  if (value === null || typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype) {
    throw malformed(where, "an object", value);
  }
  return value as Record<string, Value>;
}

export function list(value: Value | undefined, where: string): Value[] {
  if (!Array.isArray(value)) throw malformed(where, "a list", value);
  return value;
}

function text(value: Value | undefined, where: string): string {
  if (typeof value !== "string") throw malformed(where, "a string", value);
  return value;
}

function flag(value: Value | undefined, where: string): boolean {
  if (typeof value !== "boolean") throw malformed(where, "true or false", value);
  return value;
}

function malformed(where: string, expected: string, actual: Value | undefined): PyisolateError {
  const got = actual === null || actual === undefined ? String(actual) : typeof actual;
  return new PyisolateError("PROTOCOL_VIOLATION", `the worker answered ${where} with ${got}, expected ${expected}`);
}

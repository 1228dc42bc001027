// Golden: reads the files of this folder as README.md describes them. Must not know how the code under test works.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Float, Tuple, type Value } from "../../src/rpc/values.ts";
import { Tensor } from "../../src/tensor/tensor.ts";

export type Part = string | { text: string } | { hex: string; times: number } | { part: string };

export interface GoldenFrame {
  readonly name: string;
  readonly kind: string;
  readonly flags: readonly string[];
  readonly id: number;
  readonly body: string;
  readonly attachments?: readonly string[];
  readonly bytes: readonly Part[];
}

export interface GoldenStream {
  readonly name: string;
  readonly receive: readonly Part[];
  readonly calls?: number;
  readonly limits?: { readonly calls: number; readonly messageBytes: number; readonly items?: number };
  readonly stoppable?: boolean;
  readonly features?: readonly string[];
  readonly messages: readonly string[];
  readonly end?: "closed" | "broken";
  readonly code?: "PROTOCOL_VIOLATION" | "PROTOCOL_MISMATCH";
}

export interface GoldenValue {
  readonly name: string;
  readonly json: string;
  readonly also?: readonly string[];
  readonly attachments?: readonly string[];
  readonly python: string;
  readonly typescript: string;
}

type Parts = Readonly<Record<string, readonly Part[]>>;

export const frames = read<{ parts: Parts; frames: GoldenFrame[]; streams: GoldenStream[] }>("frames.json");
export const values = read<{ values: GoldenValue[]; tensors: GoldenValue[] }>("values.json");
export const invalid = read<{
  parts: Parts;
  streams: GoldenStream[];
  values: GoldenValue[];
  tensors: GoldenValue[];
}>("invalid.json");

function read<T>(file: string): T {
  return JSON.parse(readFileSync(join(import.meta.dirname, file), "utf8")) as T;
}

/** Joins parts to bytes; `parts` are the file's named ones. */
export function joinParts(list: readonly Part[], parts: Parts = {}): Buffer {
  return Buffer.concat(
    list.map((part) => {
      if (typeof part === "string") return fromHex(part);
      if ("text" in part) return Buffer.from(part.text);
      if ("hex" in part) return Buffer.alloc(part.times * (part.hex.length / 2), fromHex(part.hex));
      return joinParts(parts[part.part] ?? [], parts);
    }),
  );
}

export function fromHex(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(" ", ""), "hex");
}

/** The value of a `typescript` expression. */
export function evaluate(expression: string): Value {
  const bytes = (hex: string) => new Uint8Array(fromHex(hex));
  return new Function("Float", "Tuple", "Tensor", "bytes", `return (${expression});`)(Float, Tuple, Tensor, bytes);
}

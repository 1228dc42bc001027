// `pyisolate run`: one node of one pack, from files and words to files and words. Leaves no container.

import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { PyisolateError } from "../errors.ts";
import type { Extension } from "../extension/extension.ts";
import { ExtensionManager } from "../extension/manager.ts";
import type { NodeSchema } from "../extension/schema.ts";
import { defaultPictureName, isWritableTensor, requireWritable, writePictures } from "../picture/picture.ts";
import { Float, Tuple, type Value } from "../rpc/values.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { CommandContext } from "./context.ts";
import { readInputs } from "./inputs.ts";

export interface RunRequest {
  readonly directory: string;
  readonly node: string;
  /** `name=value` words. */
  readonly inputs: readonly string[];
  /** Files for the node's pictures, in the order of its outputs. */
  readonly outputs: readonly string[];
  /** Seconds, as written. */
  readonly timeout?: string | undefined;
}

export interface RunResult {
  readonly node: string;
  /** Texts and numbers as they are; pictures as the paths they were written to; other tensors described. */
  readonly outputs: readonly unknown[];
  /** Milliseconds of the call itself. */
  readonly ms: number;
  /** Tensor bytes copied to bring the node its inputs. */
  readonly bytesCopied: number;
}

export async function run(request: RunRequest, context: CommandContext): Promise<RunResult> {
  const timeoutMs = readTimeout(request.timeout);
  requireOutputFiles(request.outputs);
  await using manager = new ExtensionManager(context);
  const extension = await manager.loadExtension(request.directory, context);
  const schema = extension.nodeSchema(request.node);
  requirePictureOutputs(schema, request.outputs);
  const inputs = await readInputs(schema, request.inputs);
  const startedMs = performance.now();
  const result = await extension.executeNode(schema.id, inputs, {
    signal: context.signal,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  const ms = Number((performance.now() - startedMs).toFixed(3));
  const outputs = await presentOutputs(extension, schema, result.outputs, request.outputs);
  return { node: schema.id, outputs, ms, bytesCopied: result.bytesCopied };
}

function readTimeout(seconds: string | undefined): number | undefined {
  if (seconds === undefined) return undefined;
  const value = Number(seconds);
  if (seconds.trim() !== "" && value > 0 && Number.isFinite(value)) return value * 1000;
  throw new PyisolateError("USAGE", `--timeout expects a number of seconds above 0, got "${seconds}"`, {
    next: "For example: --timeout 60",
  });
}

/** Before anything runs: a node's result must not be lost to a misspelt path. */
function requireOutputFiles(files: readonly string[]): void {
  for (const [index, file] of files.entries()) {
    requireWritable(file);
    if (files.slice(0, index).some((earlier) => resolve(earlier) === resolve(file))) {
      throw new PyisolateError("USAGE", `--output ${file} was given twice`, {
        next: "Name a file of its own for each.",
      });
    }
    if (!existsSync(dirname(resolve(file)))) {
      throw new PyisolateError("USAGE", `--output ${file}: there is no folder ${dirname(resolve(file))}`, {
        next: "Make the folder first.",
      });
    }
  }
}

function requirePictureOutputs(schema: NodeSchema, files: readonly string[]): void {
  const pictures = schema.outputs.filter((output) => isPictureType(output.type));
  const isTooMany = files.length > pictures.length && !schema.outputs.some((output) => output.type === "*");
  if (!isTooMany) return;
  throw new PyisolateError(
    "USAGE",
    `node "${schema.id}" gives ${pictures.length} pictures, got ${files.length} --output files`,
    { next: `Its outputs: ${schema.outputs.map((output) => `${output.name} (${output.type})`).join(", ") || "none"}.` },
  );
}

function isPictureType(type: string): boolean {
  return type === "IMAGE" || type === "MASK";
}

async function presentOutputs(
  extension: Extension,
  schema: NodeSchema,
  values: readonly Value[],
  files: readonly string[],
): Promise<unknown[]> {
  const names = [...files];
  const presented: unknown[] = [];
  for (const [index, value] of values.entries()) {
    const type = schema.outputs[index]?.type ?? "*";
    const isPicture = value instanceof Tensor && (isPictureType(type) || (type === "*" && names.length > 0));
    if (!isPicture) {
      presented.push(present(value));
      continue;
    }
    if (names.length === 0 && !isWritableTensor(value, type)) {
      presented.push(present(value));
      continue;
    }
    const written = await writePictures(value, type, names.shift() ?? defaultPictureName(schema.id, index + 1));
    presented.push(written.length === 1 ? written[0] : written);
  }
  if (names.length > 0) {
    throw new PyisolateError(
      "PICTURE_INVALID",
      `node "${schema.id}" of pack "${extension.name}" gave no picture for ${names[0]}`,
      {
        next: "Run it with --json to see what it gives.",
      },
    );
  }
  return presented;
}

/** A value as JSON can show it. */
function present(value: Value): unknown {
  if (value instanceof Tensor) return { dtype: value.dtype, shape: value.shape };
  if (value instanceof Float) return value.value;
  if (value instanceof Uint8Array) return { bytes: value.byteLength };
  if (value instanceof Tuple) return value.items.map(present);
  if (value instanceof Set) return [...value].map(present);
  if (value instanceof Map) return [...value].map(([key, item]) => [present(key), present(item)]);
  if (Array.isArray(value)) return value.map(present);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, present(item)]));
}

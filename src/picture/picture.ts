// Pictures: files ↔ IMAGE tensors as in ComfyUI (float32, 0..1, RGB). What a file's samples mean stands in decode.ts; nothing
// else knows picture formats.

import { basename, extname } from "node:path";
import type { Sharp } from "sharp";
import { PyisolateError } from "../errors.ts";
import { Tensor } from "../tensor/tensor.ts";
import { decodePicture, toBytes } from "./decode.ts";

const writable = [".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"];

/**
 * A picture file as IMAGE: float32 [1, height, width, 3], turned upright by its EXIF orientation, transparency dropped.
 * Raises PICTURE_INVALID when the file is missing or is not a picture.
 */
export async function readPicture(file: string): Promise<Tensor> {
  const { samples, width, height } = await decodePicture(file, "rgb");
  return new Tensor("float32", [1, height, width, 3], new Uint8Array(samples.buffer));
}

/** A picture file as MASK: float32 [1, height, width] of its brightness. Raises as readPicture. */
export async function readMask(file: string): Promise<Tensor> {
  const { samples, width, height } = await decodePicture(file, "grey");
  return new Tensor("float32", [1, height, width], new Uint8Array(samples.buffer));
}

/**
 * Writes an IMAGE ([N, H, W, 1 | 3 | 4]) or MASK ([N, H, W]) of float32 or float64, values clipped to 0..1 and rounded to 8 bits.
 * The format follows the file's ending. Of several pictures the second goes to NAME-2.png, and so on.
 * `type`: the type the node declares, "IMAGE", "MASK" or "*". Gives the files written.
 * Raises PICTURE_INVALID when the tensor is not a picture of that type, USAGE for an unknown ending.
 */
export async function writePictures(tensor: Tensor, type: string, file: string): Promise<string[]> {
  requireWritable(file);
  if (!isWritableTensor(tensor, type)) {
    const expected = type === "MASK" ? "[N, H, W] or [N, H, W, 1, 3 or 4]" : "[N, H, W, 1, 3 or 4]";
    throw new PyisolateError(
      "PICTURE_INVALID",
      `cannot write ${file}: expected a float32 or float64 tensor ${expected}, got ${tensor.dtype} [${tensor.shape.join(", ")}]`,
      { next: "Mend the node, or run it without --output to see what it gives." },
    );
  }
  const [count = 0, height = 0, width = 0, channels = 1] = tensor.shape;
  const { default: sharp } = await import("sharp");
  const bytesPerPicture = height * width * channels;
  const bytes = toBytes(floatsOf(tensor));
  const files: string[] = [];
  for (let index = 0; index < count; index++) {
    const target = index === 0 ? file : numbered(file, index + 1);
    const picture = bytes.subarray(index * bytesPerPicture, (index + 1) * bytesPerPicture);
    await write(sharp(picture, { raw: { width, height, channels: channels as 1 | 3 | 4 } }), target);
    files.push(target);
  }
  return files;
}

/** Whether a value of this declared type ("IMAGE", "MASK", "*") can be written as pictures. */
export function isWritableTensor({ dtype, shape }: Tensor, type: string): boolean {
  const isPlanes = shape.length === 3 && type === "MASK";
  const isPictures = shape.length === 4 && [1, 3, 4].includes(shape[3] as number);
  return (dtype === "float32" || dtype === "float64") && (isPlanes || isPictures) && shape.every((count) => count > 0);
}

/** Raises USAGE unless a picture can be written under this name. */
export function requireWritable(file: string): void {
  const ending = extname(file).toLowerCase();
  if (writable.includes(ending)) return;
  throw new PyisolateError("USAGE", `cannot write ${file}: expected one of ${writable.join(", ")}, got "${ending}"`, {
    next: "Name the output with one of these endings.",
  });
}

async function write(picture: Sharp, file: string): Promise<void> {
  try {
    await picture.toFile(file);
  } catch (error) {
    throw new PyisolateError("PICTURE_INVALID", `cannot write ${file}: ${(error as Error).message}`, { file }, error);
  }
}

/** The elements of a float32 or float64 tensor. */
function floatsOf({ dtype, data }: Tensor): Float32Array | Float64Array {
  const elementBytes = dtype === "float64" ? 8 : 4;
  const aligned = data.byteOffset % elementBytes === 0 ? data : data.slice();
  const length = aligned.byteLength / elementBytes;
  return dtype === "float64"
    ? new Float64Array(aligned.buffer, aligned.byteOffset, length)
    : new Float32Array(aligned.buffer, aligned.byteOffset, length);
}

function numbered(file: string, number: number): string {
  const ending = extname(file);
  return `${file.slice(0, file.length - ending.length)}-${number}${ending}`;
}

/** Name for an output nobody named: NODE-1.png. */
export function defaultPictureName(nodeId: string, outputNumber: number): string {
  return `${basename(nodeId).replaceAll(/[^A-Za-z0-9._-]/g, "_")}-${outputNumber}.png`;
}

// Decode: a picture file → samples from 0 to 1. Files of 8 and 16 bits have a known range; files of floats have none, so theirs
// must lie in 0..1 and are taken as they are. Must not know tensors.

import type { Sharp, default as SharpModule } from "sharp";
import { PyisolateError } from "../errors.ts";

/** Rows from the top, channels of one pixel side by side. */
export interface Picture {
  readonly samples: Float32Array;
  readonly width: number;
  readonly height: number;
}

/** rgb: three channels · grey: one, the brightness. */
type Colours = "rgb" | "grey";

const spaces = { rgb: "srgb", grey: "b-w" } as const;

/** Samples as 8 bits, clipped to 0..1 and rounded. */
export function toBytes(samples: Float32Array | Float64Array): Uint8ClampedArray {
  const bytes = new Uint8ClampedArray(samples.length); // clips, and rounds to nearest
  for (let index = 0; index < samples.length; index++) bytes[index] = (samples[index] as number) * 255;
  return bytes;
}

/** As writers round: half a step of 8 bits beyond 0..1 is clipped. */
const slack = 0.5 / 255;

/** Turned upright by its EXIF orientation, transparency dropped. Raises PICTURE_INVALID when the file is missing or is not a picture. */
export async function decodePicture(file: string, colours: Colours): Promise<Picture> {
  const { default: sharp } = await import("sharp");
  try {
    const picture = sharp(file).rotate().removeAlpha();
    const { depth, space = "srgb" } = await picture.metadata();
    if (depth === "float") return await decodeFloats(picture, space as "scrgb" | "b-w", colours, sharp);
    if (depth !== "uchar" && depth !== "ushort") throw new Error(`it has samples of type ${depth}`);
    return await decodeBytes(picture, colours);
  } catch (error) {
    throw new PyisolateError(
      "PICTURE_INVALID",
      `${file} cannot be read as a picture: ${(error as Error).message}`,
      { file, next: "Give a JPEG, PNG, WebP or TIFF file, of 8 or 16 bits or of floats from 0 to 1." },
      error,
    );
  }
}

async function decodeBytes(picture: Sharp, colours: Colours): Promise<Picture> {
  const { data, info } = await picture.toColourspace(spaces[colours]).raw().toBuffer({ resolveWithObject: true });
  const samples = new Float32Array(data.length);
  for (let index = 0; index < data.length; index++) samples[index] = (data[index] as number) / 255;
  return { samples, width: info.width, height: info.height };
}

/** `space`: the file's own, so that sharp converts nothing: it would take RGB floats for linear light, grey ones for bytes. */
async function decodeFloats(
  picture: Sharp,
  space: "scrgb" | "b-w",
  colours: Colours,
  sharp: typeof SharpModule,
): Promise<Picture> {
  const { data, info } = await picture
    .toColourspace(space)
    .raw({ depth: "float" })
    .toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  if (channels !== 1 && channels !== 3) throw new Error(`it has ${channels} channels of floats, expected 1 or 3`);
  const samples = new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
  clipToUnit(samples);
  if (colours === "rgb") return { samples: channels === 3 ? samples : tripled(samples), width, height };
  if (channels === 1) return { samples, width, height };
  const bytes = toBytes(samples);
  return decodeBytes(sharp(bytes, { raw: { width, height, channels } }), colours);
}

function clipToUnit(samples: Float32Array): void {
  let lowest = 0;
  let highest = 1;
  for (let index = 0; index < samples.length; index++) {
    const sample = samples[index] as number;
    if (Number.isNaN(sample)) throw new Error("it holds floats that are no numbers");
    lowest = Math.min(lowest, sample);
    highest = Math.max(highest, sample);
    samples[index] = Math.min(Math.max(sample, 0), 1);
  }
  if (lowest >= -slack && highest <= 1 + slack) return;
  throw new Error(
    `it holds floats from ${Number(lowest.toPrecision(4))} to ${Number(highest.toPrecision(4))}, expected 0 to 1`,
  );
}

function tripled(samples: Float32Array): Float32Array {
  const all = new Float32Array(samples.length * 3);
  for (let index = 0; index < samples.length; index++) all.fill(samples[index] as number, index * 3, index * 3 + 3);
  return all;
}

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readMask, readPicture, writePictures } from "../../src/picture/picture.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { tiffOf } from "./picture-tiff.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "pi-picture-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const floats = (tensor: Tensor) =>
  new Float32Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength / 4);
const tensorOf = (shape: number[], values: number[]) =>
  new Tensor("float32", shape, new Uint8Array(Float32Array.from(values).buffer));

test("every 8-bit value survives reading and writing", async () => {
  const bytes = Buffer.from(Array.from({ length: 256 * 3 }, (_, index) => index % 256));
  const file = join(directory, "all.png");
  await sharp(bytes, { raw: { width: 256, height: 1, channels: 3 } })
    .png()
    .toFile(file);
  const picture = await readPicture(file);
  expect(picture.shape).toEqual([1, 1, 256, 3]);
  expect(picture.dtype).toBe("float32");
  expect(floats(picture)[255]).toBe(1);
  const [copy] = await writePictures(picture, "IMAGE", join(directory, "copy.png"));
  expect((await sharp(copy).raw().toBuffer()).equals(bytes)).toBe(true);
});

test("transparency is dropped, grey becomes RGB, EXIF orientation is applied", async () => {
  const file = join(directory, "turned.jpg");
  await sharp({ create: { width: 4, height: 2, channels: 4, background: "#808080" } })
    .toColourspace("b-w")
    .jpeg()
    .withMetadata({ orientation: 6 })
    .toFile(file);
  expect((await readPicture(file)).shape).toEqual([1, 4, 2, 3]);
  expect((await readMask(file)).shape).toEqual([1, 4, 2]);
});

test("a batch is written as numbered files, values clipped to 0..1", async () => {
  const batch = tensorOf([2, 1, 1, 3], [-1, 0.5, 2, 0, 0, 1]);
  const files = await writePictures(batch, "IMAGE", join(directory, "batch.png"));
  expect(files).toEqual([join(directory, "batch.png"), join(directory, "batch-2.png")]);
  expect([...(await sharp(files[0]).raw().toBuffer())]).toEqual([0, 128, 255]);
  expect([...(await sharp(files[1]).raw().toBuffer())]).toEqual([0, 0, 255]);
});

test("what is not a picture is refused with the file or the shape", async () => {
  const text = join(directory, "text.png");
  await writeFile(text, "not a picture");
  await expect(readPicture(text)).rejects.toMatchObject({
    code: "PICTURE_INVALID",
    message: expect.stringContaining(text),
  });
  await expect(readPicture(join(directory, "missing.png"))).rejects.toMatchObject({ code: "PICTURE_INVALID" });
  const odd = tensorOf([1, 1, 1, 2], [0, 0]);
  await expect(writePictures(odd, "IMAGE", text)).rejects.toMatchObject({
    code: "PICTURE_INVALID",
    message: expect.stringContaining("[1, 1, 1, 2]"),
  });
  const flat = tensorOf([1, 1, 3], [0, 0, 0]);
  await expect(writePictures(flat, "IMAGE", text)).rejects.toMatchObject({ code: "PICTURE_INVALID" });
  await expect(writePictures(odd, "IMAGE", "a.exe")).rejects.toMatchObject({ code: "USAGE" });
});

describe("a TIFF of floats", () => {
  const values = [0, 0.25, 0.5, 0.75, 1, 0.125];
  async function tiff(channels: 1 | 3, samples: Parameters<typeof tiffOf>[0]): Promise<string> {
    const file = join(directory, "floats.tiff");
    await writeFile(file, tiffOf(samples, { width: 2, channels }));
    return file;
  }

  test("from 0 to 1 is read as it is, RGB and grey", async () => {
    const rgb = await readPicture(await tiff(3, Float32Array.from(values)));
    expect(rgb.shape).toEqual([1, 1, 2, 3]);
    expect([...floats(rgb)]).toEqual(values);
    const grey = await readPicture(await tiff(1, Float32Array.from(values)));
    expect(grey.shape).toEqual([1, 3, 2, 3]);
    expect([...floats(grey)]).toEqual(values.flatMap((value) => [value, value, value]));
  });

  test("as a mask is its brightness", async () => {
    const grey = await readMask(await tiff(1, Float32Array.from(values)));
    expect(grey.shape).toEqual([1, 3, 2]);
    expect([...floats(grey)]).toEqual(values);
    const rgb = await readMask(await tiff(3, Float32Array.from([0.5, 0.5, 0.5, 1, 1, 1])));
    expect(floats(rgb)[0]).toBeCloseTo(0.5, 2);
    expect(floats(rgb)[1]).toBe(1);
  });

  test("of rounding beyond 0..1 is clipped", async () => {
    const rgb = await readPicture(await tiff(3, Float32Array.from([-1e-4, 0, 0, 1.0001, 1, 1])));
    expect([...floats(rgb)]).toEqual([0, 0, 0, 1, 1, 1]);
  });

  test.each([
    ["0 to 255", Float32Array.from(values, (value) => value * 255), "floats from 0 to 255"],
    ["below 0", Float32Array.from(values, (value) => value - 0.5), "floats from -0.5 to 1"],
    ["not numbers", Float32Array.from([...values.slice(1), Number.NaN]), "no numbers"],
    ["32-bit integers", Uint32Array.from(values, (value) => value * 1e9), "samples of type uint"],
    ["signed integers", Int16Array.from(values, (value) => value * 1e4), "samples of type short"],
  ])("or of others whose range nobody knows (%s) is refused", async (_name, samples, reason) => {
    for (const channels of [1, 3] as const) {
      const file = await tiff(channels, samples);
      await expect(readPicture(file)).rejects.toMatchObject({
        code: "PICTURE_INVALID",
        message: expect.stringContaining(reason),
      });
    }
  });
});

test("float64 is written as float32 is, other element types are refused by name", async () => {
  const values = [0, 0.5, 1, 2, -1, 0.25];
  const bytes = new Uint8Array(Float64Array.from(values).buffer);
  const unaligned = new Uint8Array(bytes.length + 1).subarray(1);
  unaligned.set(bytes);
  const expected = [0, 128, 255, 255, 0, 64];
  for (const data of [bytes, unaligned]) {
    const [file] = await writePictures(new Tensor("float64", [1, 1, 2, 3], data), "IMAGE", join(directory, "wide.png"));
    expect([...(await sharp(file).raw().toBuffer())]).toEqual(expected);
  }
  const [mask] = await writePictures(new Tensor("float64", [1, 2, 3], bytes), "MASK", join(directory, "mask.png"));
  expect([...(await sharp(mask).toColourspace("b-w").raw().toBuffer())]).toEqual(expected);
  const half = new Tensor("float16", [1, 1, 1, 3], new Uint8Array(6));
  await expect(writePictures(half, "IMAGE", join(directory, "half.png"))).rejects.toMatchObject({
    code: "PICTURE_INVALID",
    message: expect.stringContaining(
      "expected a float32 or float64 tensor [N, H, W, 1, 3 or 4], got float16 [1, 1, 1, 3]",
    ),
  });
});

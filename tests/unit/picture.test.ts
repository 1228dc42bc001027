import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readMask, readPicture, writePictures } from "../../src/picture/picture.ts";
import { Tensor } from "../../src/tensor/tensor.ts";

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

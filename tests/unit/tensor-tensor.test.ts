// Tensor: what host code makes and reads.

import { describe, expect, test } from "vitest";
import { DTYPES, type Dtype, isDtype } from "../../src/tensor/dtype.ts";
import { Tensor } from "../../src/tensor/tensor.ts";

const released = expect.objectContaining({ code: "TENSOR_RELEASED" });
const invalid = expect.objectContaining({ code: "TENSOR_INVALID" });

test.each(Object.entries(DTYPES))("%s: elements come back as they were given", (dtype, { itemBytes, array }) => {
  const bytes = Uint8Array.from({ length: 3 * itemBytes }, (_, index) => index + 1);
  const given = new array(bytes.buffer);
  const tensor = new Tensor(dtype as Dtype, [3], given);
  expect(tensor.toTypedArray()).toEqual(given);
  expect(tensor.data).toEqual(bytes);
  expect(tensor.nbytes).toBe(3 * itemBytes);
});

test("names that are no dtype", () => {
  for (const name of ["float31", "constructor", "", "datetime64", "datetime64[x]", 1, undefined]) {
    expect(isDtype(name)).toBe(false);
  }
});

test("data is borrowed where the elements lie in C order", () => {
  const floats = Float32Array.from([1, 2, 3, 4]);
  const tensor = new Tensor("float32", [2, 2], floats);
  (tensor.toTypedArray() as Float32Array)[3] = 9;
  expect(floats[3]).toBe(9);
});

test.each<[string, number[], number[], number, number[]]>([
  ["transposed", [3, 2], [1, 3], 0, [0, 3, 1, 4, 2, 5]],
  ["reversed", [6], [-1], 20, [5, 4, 3, 2, 1, 0]],
  ["every second", [3], [2], 4, [1, 3, 5]],
  ["broadcast", [2, 3], [0, 1], 8, [2, 3, 4, 2, 3, 4]],
  ["a scalar", [], [], 16, [4]],
  ["no elements", [0, 2], [5, 5], 0, []],
])("strides: %s", (_name, shape, strides, offset, expected) => {
  const tensor = new Tensor("float32", shape, Float32Array.from([0, 1, 2, 3, 4, 5]), strides, offset);
  expect([...(tensor.toTypedArray() as Float32Array)]).toEqual(expected);
  expect(tensor.strides).toEqual(strides);
});

test("an offset alone means C order from there on", () => {
  const tensor = new Tensor("int16", [2], Int16Array.from([5, 6, 7, 8]), undefined, 2);
  expect([...tensor.toTypedArray()]).toEqual([6, 7]);
});

test("bytes that no typed array can show where they lie are copied", () => {
  const bytes = new Uint8Array(9).subarray(1);
  bytes[0] = 1;
  expect([...new Tensor("float64", [1], bytes).toTypedArray()]).toEqual([5e-324]);
});

test("strides that leave the memory: TENSOR_INVALID", () => {
  expect(() => new Tensor("uint8", [3], new Uint8Array(3), [2])).toThrowError(invalid);
  expect(() => new Tensor("uint8", [2], new Uint8Array(3), [-1])).toThrowError(invalid);
});

test("a broadcast that no memory holds in C order: TENSOR_INVALID, not a crash", () => {
  const tensor = new Tensor("uint8", [2 ** 50], new Uint8Array(1), [0]);
  expect(() => tensor.data).toThrowError(invalid);
});

describe("release", () => {
  test("later reads: TENSOR_RELEASED, twice is fine", () => {
    const tensor = new Tensor("uint8", [2], new Uint8Array(2));
    expect(tensor.isReleased).toBe(false);
    tensor.release();
    tensor.release();
    expect(tensor.isReleased).toBe(true);
    expect(() => tensor.data).toThrowError(released);
    expect(() => tensor.toTypedArray()).toThrowError(released);
    expect({ dtype: tensor.dtype, shape: tensor.shape, nbytes: tensor.nbytes }).toEqual({
      dtype: "uint8",
      shape: [2],
      nbytes: 2,
    });
  });

  test("`using` releases at the end of the block", () => {
    let kept: Tensor;
    {
      using tensor = new Tensor("uint8", [2], new Uint8Array(2));
      kept = tensor;
    }
    expect(kept.isReleased).toBe(true);
  });
});

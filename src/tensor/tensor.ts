// Tensor: an n-dimensional array as both languages see it. Must not know Docker or how its bytes travelled.

import { PyisolateError } from "../errors.ts";

/** Bytes per element of every dtype that may travel. Names as numpy and torch spell them. */
export const DTYPE_BYTES = {
  bool: 1,
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  uint64: 8,
  int64: 8,
  float16: 2,
  bfloat16: 2,
  float32: 4,
  float64: 8,
  complex64: 8,
  complex128: 16,
} as const;

export type Dtype = keyof typeof DTYPE_BYTES;

/** An array in C order (the last axis is contiguous). */
export class Tensor {
  readonly dtype: Dtype;
  /** Element counts, outermost first; [] is a scalar. */
  readonly shape: readonly number[];
  /** The elements, little-endian, exactly `product(shape) * DTYPE_BYTES[dtype]` bytes. Borrowed, not copied. */
  readonly data: Uint8Array;

  /** Raises TENSOR_INVALID when dtype, shape and data do not fit together. */
  constructor(dtype: Dtype, shape: readonly number[], data: Uint8Array) {
    const expectedBytes = tensorBytes(dtype, shape);
    if (data.byteLength !== expectedBytes) {
      throw new PyisolateError(
        "TENSOR_INVALID",
        `tensor of ${dtype} [${shape.join(", ")}] needs ${expectedBytes} bytes, got ${data.byteLength}`,
      );
    }
    this.dtype = dtype;
    this.shape = Object.freeze([...shape]);
    this.data = data;
  }
}

/** Bytes of an array in C order. Raises TENSOR_INVALID for an unknown dtype or a shape that is not one. */
export function tensorBytes(dtype: string, shape: readonly number[]): number {
  if (!Object.hasOwn(DTYPE_BYTES, dtype)) {
    throw new PyisolateError(
      "TENSOR_INVALID",
      `unknown dtype "${dtype}", expected one of ${Object.keys(DTYPE_BYTES).join(", ")}`,
    );
  }
  let bytes = DTYPE_BYTES[dtype as Dtype];
  for (const count of shape) {
    if (!Number.isSafeInteger(count) || count < 0) {
      throw new PyisolateError("TENSOR_INVALID", `shape [${shape.join(", ")}] has "${count}", expected a count >= 0`);
    }
    bytes *= count;
  }
  if (!Number.isSafeInteger(bytes)) {
    throw new PyisolateError("TENSOR_INVALID", `shape [${shape.join(", ")}] is larger than any memory`);
  }
  return bytes;
}

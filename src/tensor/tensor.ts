// Tensor: an n-dimensional array as both languages see it. Must not know Docker or how its bytes travelled.

import { PyisolateError } from "../errors.ts";
import type { ExtensionValue } from "../rpc/values.ts";
import { DTYPE_BYTES, type Dtype, isDtype } from "./dtype.ts";

const MAX_AXES = 32;

/** An array in C order (the last axis is contiguous). */
export class Tensor implements ExtensionValue {
  readonly wireTag = "$tensor";
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
  if (!isDtype(dtype)) {
    throw new PyisolateError(
      "TENSOR_INVALID",
      `unknown dtype "${dtype}", expected one of ${Object.keys(DTYPE_BYTES).join(", ")}`,
    );
  }
  if (shape.length > MAX_AXES) {
    throw new PyisolateError("TENSOR_INVALID", `shape of ${shape.length} axes, expected at most ${MAX_AXES}`);
  }
  let bytes: number = DTYPE_BYTES[dtype];
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

// Tensor: an n-dimensional array as both languages see it. Must not know Docker or how its bytes travelled.

import { PyisolateError } from "../errors.ts";
import type { ExtensionValue } from "../rpc/values.ts";
import { DTYPES, type Dtype, type TypedArray } from "./dtype.ts";
import { checkLayout, checkShape, copyElements, cStrides, isCOrder } from "./layout.ts";

/** Bytes that one tensor lies in, until it gives them up. Here ordinary memory; segments bring a subclass. */
export class Memory {
  bytes: Uint8Array | undefined;

  constructor(bytes: Uint8Array | undefined) {
    this.bytes = bytes;
  }

  get isReleased(): boolean {
    return this.bytes === undefined;
  }

  /** All of it, for host code. Raises TENSOR_RELEASED. */
  look(): Uint8Array {
    if (this.bytes === undefined) throw released();
    return this.bytes;
  }

  /** Bytes to copy from at once, not to be kept. Raises TENSOR_RELEASED. */
  peek(start: number, nbytes: number): Uint8Array {
    return this.look().subarray(start, start + nbytes);
  }

  /**
   * Where host code may look at the tensor that lies here: `at` itself, or a copy, which is the tensor from then on.
   * Raises TENSOR_RELEASED.
   */
  settle(_dtype: Dtype, _shape: readonly number[], at: Location): Location {
    return at;
  }

  /** Gives it up. Doing so twice is fine. */
  release(): void {
    this.bytes = undefined;
  }
}

/** Where a tensor lies; for this package only. */
export interface Location {
  readonly memory: Memory;
  /** Byte of element [0, …, 0] in that memory. */
  readonly offset: number;
  /** In elements. */
  readonly strides: readonly number[];
}

export function released(): PyisolateError {
  return new PyisolateError("TENSOR_RELEASED", "the tensor was released", {
    next: "Copy what is needed later, or release it later.",
  });
}

/**
 * An array, little-endian. It lies in memory of this program, or in memory that it shares with packs: then it keeps a
 * piece of that until it is released, or is garbage together with all arrays taken from it.
 */
export class Tensor implements ExtensionValue {
  readonly wireTag = "$tensor";
  readonly dtype: Dtype;
  /** Element counts, outermost first; [] is a scalar. */
  readonly shape: readonly number[];
  /** For this package only. */
  location: Location;

  /**
   * Borrows `data`: the elements in C order, exactly; or with `strides` (in elements) any memory that holds them all,
   * element [0, …, 0] at byte `offset`. Raises TENSOR_INVALID when they do not fit together.
   */
  constructor(dtype: Dtype, shape: readonly number[], data: TypedArray, strides?: readonly number[], offset = 0) {
    const expectedBytes = checkShape(dtype, shape);
    if (strides !== undefined || offset !== 0) {
      checkLayout(dtype, shape, strides ?? cStrides(shape), offset, data.byteLength);
    } else if (data.byteLength !== expectedBytes) {
      throw new PyisolateError(
        "TENSOR_INVALID",
        `tensor of ${dtype} [${shape.join(", ")}] needs ${expectedBytes} bytes, got ${data.byteLength}`,
      );
    }
    this.dtype = dtype;
    this.shape = Object.freeze([...shape]);
    const bytes = data instanceof Uint8Array ? data : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.location = {
      memory: new Memory(bytes),
      offset,
      strides: strides === undefined ? cStrides(shape) : [...strides],
    };
  }

  /** For this package: nothing is checked. Owns the memory. */
  static over(dtype: Dtype, shape: readonly number[], location: Location): Tensor {
    const tensor = new Tensor(dtype, [0], NOTHING) as { -readonly [Key in keyof Tensor]: Tensor[Key] };
    tensor.shape = Object.freeze([...shape]);
    tensor.location = location;
    return tensor;
  }

  /** Elements (not bytes) to the next one along each axis; may be negative, or 0 (broadcast). Of where it lies now. */
  get strides(): readonly number[] {
    return this.location.strides;
  }

  /** Bytes of the elements in C order. */
  get nbytes(): number {
    return checkShape(this.dtype, this.shape);
  }

  /**
   * The elements in C order: borrowed if they lie so, else copied each time. Of a tensor that a pack has written the
   * first look makes a copy, which no pack can change, and which is the tensor from then on.
   * After `release` they must not be used any more: they may show other tensors. Raises TENSOR_RELEASED.
   */
  get data(): Uint8Array {
    this.location = this.location.memory.settle(this.dtype, this.shape, this.location);
    const { memory, offset, strides } = this.location;
    const bytes = memory.look();
    const { nbytes } = this;
    if (isCOrder(this.shape, strides)) return bytes.subarray(offset, offset + nbytes);
    const copy = newBytes(nbytes);
    copyElements(copy, bytes, offset, DTYPES[this.dtype].itemBytes, this.shape, strides);
    return copy;
  }

  /** `data` as the typed array of the dtype (see TypedArray); borrowed as `data` is. Raises TENSOR_RELEASED. */
  toTypedArray(): TypedArray {
    const { data } = this;
    const { array } = DTYPES[this.dtype];
    const aligned = data.byteOffset % array.BYTES_PER_ELEMENT === 0 ? data : data.slice();
    return new array(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / array.BYTES_PER_ELEMENT);
  }

  get isReleased(): boolean {
    return this.location.memory.isReleased;
  }

  /** Lets the memory be used for other tensors; later reads and sends raise TENSOR_RELEASED. Doing so twice is fine. */
  release(): void {
    this.location.memory.release();
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

const NOTHING = new Uint8Array(0);

/** Ordinary memory. Raises TENSOR_INVALID when there is none of that size. */
export function newBytes(nbytes: number): Uint8Array {
  try {
    return new Uint8Array(nbytes);
  } catch (error) {
    throw new PyisolateError("TENSOR_INVALID", `a tensor of ${nbytes} bytes has no room in memory`, {}, error);
  }
}

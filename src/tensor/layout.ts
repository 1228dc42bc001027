// Layout: where the elements of an array lie. Shapes and strides only; must not know bytes of anybody.
// Strides count elements and may be negative or 0. Numbers are floats: below 2^53 exact, above it never below it again,
// as everything summed up here has one sign. So no check can overflow.

import { PyisolateError } from "../errors.ts";
import { DTYPES, type Dtype, isDtype } from "./dtype.ts";

const MAX_AXES = 32;

/** Bytes of such an array in C order. Raises TENSOR_INVALID for an unknown dtype or a shape that is not one. */
export function checkShape(dtype: unknown, shape: readonly unknown[]): number {
  if (!isDtype(dtype)) {
    throw invalid(`unknown dtype "${String(dtype).slice(0, 40)}", expected one of ${Object.keys(DTYPES).join(", ")}`);
  }
  if (shape.length > MAX_AXES || !shape.every((count) => Number.isSafeInteger(count) && (count as number) >= 0)) {
    throw invalid(`shape ${show(shape)} is no list of up to ${MAX_AXES} counts >= 0`);
  }
  const nbytes = elementCount(shape as number[]) * DTYPES[dtype].itemBytes;
  if (!Number.isSafeInteger(nbytes)) throw invalid(`shape ${show(shape)} is larger than any memory`);
  return nbytes;
}

/**
 * Whether every element lies inside `nbytes` bytes, element [0, …, 0] at byte `offset`; gives the bytes from the first
 * element to the end of the last. Raises TENSOR_INVALID.
 */
export function checkLayout(
  dtype: unknown,
  shape: readonly unknown[],
  strides: readonly unknown[],
  offset: unknown,
  nbytes: number,
): { readonly start: number; readonly end: number } {
  checkShape(dtype, shape);
  if (strides.length !== shape.length || !strides.every(Number.isSafeInteger)) {
    throw invalid(`strides ${show(strides)} do not fit the shape ${show(shape)}`);
  }
  const { itemBytes } = DTYPES[dtype as Dtype];
  if (!Number.isSafeInteger(offset) || (offset as number) < 0 || (offset as number) % itemBytes !== 0) {
    throw invalid(`offset ${show([offset])} is no multiple of the ${itemBytes} bytes of ${dtype}`);
  }
  const { low, high } = span(shape as number[], strides as number[]);
  const start = (offset as number) + low * itemBytes;
  const end = (offset as number) + high * itemBytes;
  if (start < 0 || end > nbytes) {
    throw invalid(
      `tensor of ${dtype} ${show(shape)} with strides ${show(strides)} at byte ${offset} goes beyond ${nbytes} bytes`,
    );
  }
  return { start, end };
}

function invalid(message: string): PyisolateError {
  return new PyisolateError("TENSOR_INVALID", message);
}

function show(numbers: readonly unknown[]): string {
  return `[${numbers.map((each) => String(each).slice(0, 20)).join(", ")}]`.slice(0, 800);
}

function elementCount(shape: readonly number[]): number {
  return shape.includes(0) ? 0 : shape.reduce((product, count) => product * count, 1);
}

/** Strides of an array in C order: the last axis is contiguous. */
export function cStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    strides[axis] = step;
    step *= shape[axis] as number;
  }
  return strides;
}

/** Whether the elements lie one after another; strides of axes with one element do not matter. */
export function isCOrder(shape: readonly number[], strides: readonly number[]): boolean {
  if (shape.includes(0)) return true;
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    const count = shape[axis] as number;
    if (count === 1) continue;
    if (strides[axis] !== step) return false;
    step *= count;
  }
  return true;
}

/** First element and end of the last, in elements from element [0, …, 0]; 0 and 0 when there are none. */
export function span(shape: readonly number[], strides: readonly number[]): { low: number; high: number } {
  if (shape.includes(0)) return { low: 0, high: 0 };
  let low = 0;
  let high = 1;
  for (let axis = 0; axis < shape.length; axis += 1) {
    const reach = ((shape[axis] as number) - 1) * (strides[axis] as number);
    if (reach < 0) low += reach;
    else high += reach;
  }
  return { low, high };
}

/** The shape with one element on each axis that repeats the same elements: what a copy needs room for. */
export function collapse(shape: readonly number[], strides: readonly number[]): number[] {
  return shape.map((count, axis) => (strides[axis] === 0 && count > 1 ? 1 : count));
}

/** Strides that show an array in C order of the `collapsed` shape in the whole `shape`. */
export function expand(shape: readonly number[], collapsed: readonly number[]): number[] {
  return cStrides(collapsed).map((step, axis) => (collapsed[axis] === shape[axis] ? step : 0));
}

/** How to copy an array into the least room. */
export interface CopyPlan {
  /** Of the copy; its element [0, …, 0] lies at byte `offset`. */
  readonly nbytes: number;
  readonly offset: number;
  readonly strides: readonly number[];
  /** Elements to be copied one by one, in C order; undefined: all bytes of the span as they lie. */
  readonly shape: readonly number[] | undefined;
}

/** An array without gaps is copied as it lies, whatever its strides; another element by element. */
export function planCopy(itemBytes: number, shape: readonly number[], strides: readonly number[]): CopyPlan {
  const { low, high } = span(shape, strides);
  const collapsed = collapse(shape, strides);
  const count = elementCount(collapsed);
  if (high - low <= count)
    return { nbytes: (high - low) * itemBytes, offset: (0 - low) * itemBytes, strides, shape: undefined };
  return { nbytes: count * itemBytes, offset: 0, strides: expand(shape, collapsed), shape: collapsed };
}

/** Writes the elements in C order to the start of `target`. `offset`: byte of element [0, …, 0] in the source. */
export function copyElements(
  target: Uint8Array,
  source: Uint8Array,
  offset: number,
  itemBytes: number,
  shape: readonly number[],
  strides: readonly number[],
): void {
  const { low, high } = span(shape, strides);
  if (high === 0) return;
  const from = source.byteOffset + offset + low * itemBytes;
  const wordBytes = [4, 2].find((bytes) => (from | target.byteOffset | itemBytes) % bytes === 0) ?? 1;
  const words = itemBytes / wordBytes;
  const axes = merge([...shape, words], [...strides.map((step) => step * words), 1]);
  const sourceWords = wordsOf(wordBytes, source.buffer, from, (high - low) * words);
  const targetWords = wordsOf(wordBytes, target.buffer, target.byteOffset, Math.floor(target.byteLength / wordBytes));
  copyAxes(targetWords, 0, sourceWords, (0 - low) * words, axes, 0);
}

type Words = Uint8Array | Uint16Array | Uint32Array;

function wordsOf(bytes: number, buffer: ArrayBufferLike, start: number, count: number): Words {
  if (bytes === 4) return new Uint32Array(buffer, start, count);
  return bytes === 2 ? new Uint16Array(buffer, start, count) : new Uint8Array(buffer, start, count);
}

interface Axis {
  readonly count: number;
  readonly stride: number;
}

/** The axes, neighbours that go on in step made one, axes of one element left out. */
function merge(shape: readonly number[], strides: readonly number[]): Axis[] {
  const axes: Axis[] = [];
  shape.forEach((count, index) => {
    if (count === 1) return;
    const stride = strides[index] as number;
    const last = axes.at(-1);
    if (last?.stride === stride * count) axes[axes.length - 1] = { count: last.count * count, stride };
    else axes.push({ count, stride });
  });
  return axes.length === 0 ? [{ count: 1, stride: 1 }] : axes;
}

/** Below this many words a loop is faster than a view of them. */
const RUN_WORDS = 24;

/** Copies what the axes from `depth` on show from word `start` to `at`; gives where it ends. */
function copyAxes(
  target: Words,
  at: number,
  source: Words,
  start: number,
  axes: readonly Axis[],
  depth: number,
): number {
  const { count, stride } = axes[depth] as Axis;
  if (depth < axes.length - 1) {
    let end = at;
    for (let index = 0; index < count; index += 1) {
      end = copyAxes(target, end, source, start + index * stride, axes, depth + 1);
    }
    return end;
  }
  if (stride === 1 && count >= RUN_WORDS) {
    target.set(source.subarray(start, start + count), at);
  } else {
    for (let index = 0; index < count; index += 1) target[at + index] = source[start + index * stride] as number;
  }
  return at + count;
}

// Payload: the text form of a tensor, `$tensor` of docs/protocol.md, written and read. Must not know memory.

import { isPyisolateError } from "../errors.ts";
import { violation } from "../rpc/frame.ts";
import type { Dtype } from "./dtype.ts";
import { checkLayout, checkShape, cStrides, isCOrder } from "./layout.ts";

export const TAG = "$tensor";

/** Up to here the bytes travel in the message; a segment would cost more than it saves. */
export const INLINE_BYTES = 64 * 1024;

const INLINE_KEYS = ["dtype", "shape", "attachment"];
const PLACE_KEYS = ["dtype", "shape", "segment", "offset", "lease"];

/** A tensor in a segment, as its sender says. */
export interface Place {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** In elements. */
  readonly strides: readonly number[];
  /** Number of the segment on this connection. */
  readonly segment: number;
  /** Bytes from its start to element [0, …, 0]. */
  readonly offset: number;
  /** Id of the sender's lease. */
  readonly lease: unknown;
}

export function writeInline(dtype: Dtype, shape: readonly number[], attachment: number): object {
  return { dtype, shape, attachment };
}

export function writePlace(place: Place): object {
  const { dtype, shape, strides, segment, offset, lease } = place;
  if (isCOrder(shape, strides)) return { dtype, shape, segment, offset, lease };
  return { dtype, shape, strides, segment, offset, lease };
}

/** Whether it is a tensor in a segment, for `readPlace`; else it may be one for `readInline`. */
export function isPlace(payload: unknown): payload is Record<string, unknown> {
  return typeof payload === "object" && payload !== null && Object.hasOwn(payload, "segment");
}

export interface InlinePayload {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly attachment: unknown;
  /** What the attachment must have. */
  readonly nbytes: number;
}

/** Raises PROTOCOL_VIOLATION. */
export function readInline(payload: unknown): InlinePayload {
  if (typeof payload !== "object" || payload === null) throw violation(`${TAG} that is no object`);
  needKeys(payload, INLINE_KEYS);
  const { dtype, shape, attachment } = payload as Record<string, unknown>;
  const nbytes = needShape(dtype, shape);
  return { dtype: dtype as Dtype, shape: shape as number[], attachment, nbytes };
}

/** Nothing is checked against a segment yet; `checkPlace` does. Raises PROTOCOL_VIOLATION. */
export function readPlace(payload: Record<string, unknown>): Place {
  const isStrided = Object.hasOwn(payload, "strides");
  needKeys(payload, isStrided ? [...PLACE_KEYS, "strides"] : PLACE_KEYS);
  const { dtype, shape, segment, offset, lease } = payload;
  needShape(dtype, shape);
  const strides = isStrided ? payload.strides : cStrides(shape as number[]);
  if (!Array.isArray(strides)) throw violation(`${TAG} whose strides are no list`);
  return { dtype, shape, strides, segment, offset, lease } as Place;
}

/** Where in a segment of so many bytes it lies, from its first byte to its end. Raises PROTOCOL_VIOLATION. */
export function checkPlace(place: Place, nbytes: number): { readonly start: number; readonly end: number } {
  return orViolation(() => checkLayout(place.dtype, place.shape, place.strides, place.offset, nbytes));
}

function needKeys(payload: object, keys: readonly string[]): void {
  const found = Object.keys(payload);
  if (found.length === keys.length && keys.every((key) => Object.hasOwn(payload, key))) return;
  throw violation(`${TAG} with the keys ${found.join(", ").slice(0, 200)}, expected ${keys.join(", ")}`);
}

function needShape(dtype: unknown, shape: unknown): number {
  if (!Array.isArray(shape)) throw violation(`${TAG} whose shape is no list`);
  return orViolation(() => checkShape(dtype, shape));
}

function orViolation<Result>(check: () => Result): Result {
  try {
    return check();
  } catch (error) {
    if (isPyisolateError(error, "TENSOR_INVALID")) throw violation(error.message);
    throw error;
  }
}

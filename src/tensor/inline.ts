// Inline: tensors whose bytes travel in the message itself, as an attachment. Must not know sockets or segments.

import { violation } from "../rpc/frame.ts";
import type { ValueExtension, ValueSink, ValueSource } from "../rpc/values.ts";
import { readInline, TAG, writeInline } from "./payload.ts";
import { Tensor } from "./tensor.ts";

/** The route "inline". */
export const inlineTensors: ValueExtension = {
  encode: (value, sink) => (value instanceof Tensor ? encodeInline(value, sink) : undefined),
  decode: (tag, payload, source) => (tag === TAG ? decodeInline(payload, source) : undefined),
};

/** Every byte counts as copied: the socket copies it. Raises TENSOR_RELEASED. */
export function encodeInline(tensor: Tensor, sink: ValueSink): { tag: string; payload: unknown } {
  const { data } = tensor;
  sink.copied(data.byteLength, "inline");
  return { tag: TAG, payload: writeInline(tensor.dtype, tensor.shape, sink.attach(data)) };
}

/** Borrows the bytes of the message's own area. Raises PROTOCOL_VIOLATION. */
export function decodeInline(payload: unknown, source: ValueSource): Tensor {
  const { dtype, shape, attachment, nbytes } = readInline(payload);
  const data = source.take(attachment);
  if (data.byteLength === nbytes) return new Tensor(dtype, shape, data);
  throw violation(`${TAG} of ${dtype} [${shape.join(", ")}] with ${data.byteLength} bytes, expected ${nbytes}`);
}

// Inline: tensors whose bytes travel in the message itself, as an attachment. Must not know sockets or Docker.

import { violation } from "../rpc/frame.ts";
import type { ValueExtension, ValueSource } from "../rpc/values.ts";
import { isDtype } from "./dtype.ts";
import { Tensor, tensorBytes } from "./tensor.ts";

const TAG = "$tensor";
const KEYS = ["dtype", "shape", "attachment"];

/** The route "inline". Every byte counts as copied: the socket copies it. */
export const inlineTensors: ValueExtension = {
  encode(value, sink) {
    if (!(value instanceof Tensor)) return undefined;
    const { dtype, shape, data } = value;
    sink.copied(data.byteLength, "inline");
    return { tag: TAG, payload: { dtype, shape, attachment: sink.attach(data) } };
  },
  decode(tag, payload, attachments) {
    return tag === TAG ? decodeTensor(payload, attachments) : undefined;
  },
};

/** Borrows the bytes of the message's own area. Raises PROTOCOL_VIOLATION. */
function decodeTensor(payload: unknown, attachments: ValueSource): Tensor {
  if (typeof payload !== "object" || payload === null) throw violation("$tensor that is no object");
  if (Object.keys(payload).length !== KEYS.length || !KEYS.every((key) => Object.hasOwn(payload, key))) {
    throw violation(`$tensor with the keys ${Object.keys(payload).join(", ")}, expected ${KEYS.join(", ")}`);
  }
  const { dtype, shape, attachment } = payload as { dtype: unknown; shape: unknown; attachment: unknown };
  if (!isDtype(dtype)) throw violation("$tensor of an unknown dtype");
  if (!Array.isArray(shape) || !shape.every((count) => typeof count === "number")) {
    throw violation("$tensor whose shape is no list of counts");
  }
  const data = attachments.take(attachment);
  try {
    if (tensorBytes(dtype, shape) === data.byteLength) return new Tensor(dtype, shape, data);
  } catch (error) {
    throw violation((error as Error).message);
  }
  throw violation(`$tensor of ${dtype} [${shape.join(", ")}] with ${data.byteLength} bytes`);
}

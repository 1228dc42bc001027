// Incoming: a message whose frames or attachment bytes are still coming in, and which frames may come between them.
// Must not know ids that are live, or values.

import type { IncomingBody, MessageKind } from "./bodies.ts";
import { type FrameHeader, hasFlag, violation } from "./frame.ts";
import { FLAG, type KindName, WIRE } from "./kinds.ts";

/** A message of which frames or attachment bytes are missing. */
export interface Incoming {
  readonly kind: MessageKind;
  /** Without `more`. */
  readonly flags: number;
  readonly id: number;
  readonly body: IncomingBody;
  readonly area: Uint8Array;
  filledBytes: number;
}

/** Whether the frame is of the same call, in the same role, as the message that is under way. */
export function belongsTo(message: Incoming, { kind, id, flags }: FrameHeader): boolean {
  if (id !== message.id || kind === "release") return false;
  return hasFlag(flags, "reply") === hasFlag(message.flags, "reply");
}

export function checkContinuing(message: Incoming, header: FrameHeader): void {
  const left = message.area.byteLength - message.filledBytes;
  const hasMore = left > WIRE.attachmentBytes;
  const flags = message.flags | (hasMore ? FLAG.more : 0);
  const bytes = hasMore ? WIRE.attachmentBytes : left;
  if (header.kind !== message.kind || header.flags !== flags) {
    throw violation(`${header.kind} frame with flags ${header.flags} inside the ${message.kind} of call ${message.id}`);
  }
  if (header.bodyBytes !== 0) throw violation(`${message.kind} that goes on with a body`);
  if (header.attachmentBytes !== bytes) {
    throw violation(`${message.kind} that goes on with ${header.attachmentBytes} attachment bytes, expected ${bytes}`);
  }
}

export function isMessage(kind: KindName): kind is MessageKind {
  return kind === "call" || kind === "result" || kind === "error" || kind === "event";
}

/** Not zeroed: every byte is received before anyone sees it. */
export function allocate(bytes: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
}

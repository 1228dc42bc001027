// Outbox: the order in which frames leave. Small messages go at once; messages of several frames go one at a time,
// a frame whenever the way out is free, and messages of the same call never overtake each other.
// Must not know what messages mean.

import { areaParts, encodeHead, hasFlag } from "./frame.ts";
import { FLAG, type KindName, PACE, WIRE } from "./kinds.ts";
import type { OutgoingMessage } from "./session.ts";
import type { Transport } from "./transport.ts";

/** Short, of no call, and never too many. A message that names a segment must not overtake its attach. */
const BEFORE_ALL: ReadonlySet<KindName> = new Set(["attach", "release"]);

interface Held {
  readonly message: OutgoingMessage;
  /** Attachment bytes that were written. */
  sentBytes: number;
  /** What is left of the area. */
  readonly parts: Uint8Array[];
}

export class Outbox {
  readonly #transport: Transport;
  readonly #held: Held[] = [];
  #heldBytes = 0;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Whether less waits than one connection should have waiting. */
  get hasRoom(): boolean {
    return this.#heldBytes + this.#transport.queuedBytes < PACE.outboundBytes;
  }

  /** Writes the message, or holds it until its turn. Attachments are borrowed until they are written. */
  send(message: OutgoingMessage): void {
    const isWhole = message.areaBytes <= WIRE.attachmentBytes;
    if (BEFORE_ALL.has(message.kind)) this.#transport.send([message.head]);
    else if (isWhole && this.#transport.queuedBytes < PACE.outboundBytes && !this.#isBehind(message)) {
      this.#transport.send(
        message.areaBytes === 0 ? [message.head] : [message.head, ...areaParts(message.attachments)],
      );
    } else {
      this.#held.push({ message, sentBytes: 0, parts: areaParts(message.attachments) });
      this.#heldBytes += message.head.byteLength + message.areaBytes;
      this.drain();
    }
  }

  /** Writes held frames while the way out is free; to be called when it becomes so. */
  drain(): void {
    while (!this.#transport.isFull) {
      const held = this.#held[0];
      if (held === undefined) return;
      this.#sendPiece(held);
      if (held.sentBytes === held.message.areaBytes) {
        this.#held.shift();
        this.#heldBytes -= held.message.head.byteLength;
      }
    }
  }

  #sendPiece(held: Held): void {
    const { message } = held;
    const { kind, flags, id, areaBytes } = message;
    const bytes = Math.min(areaBytes - held.sentBytes, WIRE.attachmentBytes);
    const isFirst = held.sentBytes === 0;
    held.sentBytes += bytes;
    this.#heldBytes -= bytes;
    const more = held.sentBytes < areaBytes ? FLAG.more : 0;
    const head = isFirst ? message.head : encodeHead(kind, flags | more, id, "", bytes);
    this.#transport.send([head, ...takeBytes(held.parts, bytes)]);
  }

  /** Whether a message of the same call is held. */
  #isBehind(message: OutgoingMessage): boolean {
    if (this.#held.length === 0) return false;
    const isReply = hasFlag(message.flags, "reply");
    return this.#held.some(({ message: held }) => held.id === message.id && hasFlag(held.flags, "reply") === isReply);
  }
}

/** Cuts `bytes` bytes off the front of `parts`. */
function takeBytes(parts: Uint8Array[], bytes: number): Uint8Array[] {
  const taken: Uint8Array[] = [];
  let left = bytes;
  while (left > 0) {
    const part = parts[0] as Uint8Array;
    if (part.byteLength <= left) parts.shift();
    else parts[0] = part.subarray(left);
    taken.push(part.subarray(0, left));
    left -= Math.min(left, part.byteLength);
  }
  return taken;
}

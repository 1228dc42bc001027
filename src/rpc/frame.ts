// Frame: header, body and attachment bytes, cut out of a byte stream and written into one.
// Must not know sessions, values or sockets. Lengths are checked before anything is allocated.

import { PyisolateError } from "../errors.ts";
import { FLAG, KIND_BY_NUMBER, KINDS, type Kind, type KindName, WIRE } from "./kinds.ts";

export interface FrameHeader {
  readonly kind: KindName;
  readonly rules: Kind;
  readonly flags: number;
  readonly id: number;
  readonly bodyBytes: number;
  readonly attachmentBytes: number;
}

/** The error for bytes that docs/protocol.md forbids. */
export function violation(message: string): PyisolateError {
  return new PyisolateError("PROTOCOL_VIOLATION", `peer broke the protocol: ${message}`);
}

/** Reads 16 bytes at `at`. Raises PROTOCOL_VIOLATION. */
function decodeHeader(bytes: Buffer, at: number): FrameHeader {
  const bodyBytes = bytes.readUInt32LE(at);
  const attachmentBytes = bytes.readUInt32LE(at + 4);
  const number = bytes[at + 8] as number;
  const flags = bytes[at + 9] as number;
  const id = bytes.readUInt32LE(at + 12);

  const found = KIND_BY_NUMBER[number];
  if (found === undefined) throw violation(`unknown frame kind ${number}`);
  const [name, kind] = found;
  if (!kind.flags.includes(flags)) throw violation(`${name} frame with flags ${flags}`);
  if (bytes[at + 10] !== 0 || bytes[at + 11] !== 0)
    throw violation(`${name} frame with a reserved field that is not 0`);
  if ((id === 0) !== (kind.id === "connection")) throw violation(`${name} frame with id ${id}`);
  if (bodyBytes % WIRE.bodyStepBytes !== 0 || bodyBytes > WIRE.bodyBytes) {
    throw violation(`body of ${bodyBytes} bytes, expected a multiple of 16 up to ${WIRE.bodyBytes}`);
  }
  if (attachmentBytes % WIRE.attachmentStepBytes !== 0 || attachmentBytes > WIRE.attachmentBytes) {
    throw violation(`${attachmentBytes} attachment bytes, expected a multiple of 64 up to ${WIRE.attachmentBytes}`);
  }
  if (kind.body === "empty" && bodyBytes !== 0) throw violation(`${name} frame with a body`);
  if (!kind.attachments && attachmentBytes !== 0) throw violation(`${name} frame with attachment bytes`);
  return { kind: name, rules: kind, flags, id, bodyBytes, attachmentBytes };
}

/**
 * Header and padded body in one buffer of its own; the attachment bytes follow it on the wire.
 *
 * Raises VALUE_UNSUPPORTED when the body is longer than a frame can hold.
 */
export function encodeHead(kind: KindName, flags: number, id: number, body: string, attachmentBytes: number): Buffer {
  const textBytes = body === "" ? 0 : Buffer.byteLength(body);
  const bodyBytes = roundUp(textBytes, WIRE.bodyStepBytes);
  if (bodyBytes > WIRE.bodyBytes) {
    throw new PyisolateError(
      "VALUE_UNSUPPORTED",
      `the text form of a ${kind} needs ${textBytes} bytes, the wire allows ${WIRE.bodyBytes}`,
      { next: "Send long data as bytes or as a tensor; those travel beside the text." },
    );
  }
  const head = Buffer.allocUnsafe(WIRE.headerBytes + bodyBytes);
  head.writeUInt32LE(bodyBytes, 0);
  head.writeUInt32LE(attachmentBytes, 4);
  head[8] = KINDS[kind].number;
  head[9] = flags;
  head[10] = 0;
  head[11] = 0;
  head.writeUInt32LE(id, 12);
  if (textBytes > 0) {
    head.write(body, WIRE.headerBytes);
    for (let at = WIRE.headerBytes + textBytes; at < head.byteLength; at += 1) head[at] = 0x20;
  }
  return head;
}

/** Bytes of the area that holds attachments of these lengths, each starting at a multiple of 64. */
export function areaBytes(lengths: readonly number[]): number {
  return lengths.reduce((end, length) => roundUp(end + length, WIRE.attachmentStepBytes), 0);
}

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

const ZEROS = new Uint8Array(WIRE.attachmentStepBytes);

/** The area as a list of buffers, gaps filled; the attachments themselves are borrowed, not copied. */
export function areaParts(attachments: readonly Uint8Array[]): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (const attachment of attachments) {
    if (attachment.byteLength > 0) parts.push(attachment);
    const gap = roundUp(attachment.byteLength, WIRE.attachmentStepBytes) - attachment.byteLength;
    if (gap > 0) parts.push(ZEROS.subarray(0, gap));
  }
  return parts;
}

/** What a FrameReader hands on, in this order for every frame. Any of the three may raise PROTOCOL_VIOLATION. */
export interface FrameSink {
  /** Nothing beyond the header was read or allocated yet. */
  header(header: FrameHeader): void;
  /**
   * The body is in `bytes` from `start` on, borrowed until the call returns.
   * Gives the place for the attachment bytes, of exactly that length.
   */
  body(header: FrameHeader, bytes: Buffer, start: number): Uint8Array;
  /** The attachment bytes are in place. */
  end(header: FrameHeader): void;
}

const NOTHING = Buffer.alloc(0);

/** Cuts a byte stream into frames, incrementally. Attachment bytes are copied once, to where the sink wants them. */
export class FrameReader {
  readonly #sink: FrameSink;
  #chunk: Buffer = NOTHING;
  #at = 0;
  #taken: Buffer = NOTHING;
  /** Bytes of a header or body that came in several chunks; #filled of them are there. */
  #partial: Buffer | undefined;
  #filled = 0;
  #header: FrameHeader | undefined;
  #destination: Uint8Array | undefined;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Whether a frame has begun and not ended. */
  get isInsideFrame(): boolean {
    return this.#header !== undefined || this.#filled > 0 || this.#at < this.#chunk.byteLength;
  }

  /** Gives the next bytes of the stream; the ones before must have been read to their end. Borrowed until then. */
  feed(chunk: Buffer): void {
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** Handles up to `maxFrames` frames of the fed bytes. Gives how many were completed: fewer means the bytes are used up. */
  read(maxFrames: number): number {
    let frames = 0;
    while (frames < maxFrames && this.#step()) frames += 1;
    return frames;
  }

  /** Advances to the end of one frame; false: the fed bytes ended before it. */
  #step(): boolean {
    if (this.#header === undefined) {
      const start = this.#take(WIRE.headerBytes);
      if (start < 0) return false;
      const header = decodeHeader(this.#taken, start);
      this.#sink.header(header);
      this.#header = header;
    }
    const header = this.#header;
    if (this.#destination === undefined) {
      const start = header.bodyBytes === 0 ? 0 : this.#take(header.bodyBytes);
      if (start < 0) return false;
      this.#destination = this.#sink.body(header, this.#taken, start);
    }
    if (!this.#fill(this.#destination)) return false;
    this.#header = undefined;
    this.#destination = undefined;
    this.#filled = 0;
    this.#sink.end(header);
    return true;
  }

  /** Where in #taken `count` bytes lie in one piece: in the chunk itself where it has them all; −1: not there yet. */
  #take(count: number): number {
    if (this.#partial === undefined) {
      const start = this.#at;
      if (this.#chunk.byteLength - start >= count) {
        this.#at += count;
        this.#taken = this.#chunk;
        return start;
      }
      if (this.#chunk.byteLength === start) return -1;
      this.#partial = Buffer.allocUnsafe(count);
    }
    if (!this.#fill(this.#partial)) return -1;
    this.#taken = this.#partial;
    this.#partial = undefined;
    this.#filled = 0;
    return 0;
  }

  #fill(target: Uint8Array): boolean {
    const wanted = target.byteLength - this.#filled;
    const count = Math.min(wanted, this.#chunk.byteLength - this.#at);
    if (count > 0) {
      target.set(this.#chunk.subarray(this.#at, this.#at + count), this.#filled);
      this.#at += count;
      this.#filled += count;
    }
    return count === wanted;
  }
}

/** Whether the flags byte has `flag`. */
export function hasFlag(flags: number, flag: keyof typeof FLAG): boolean {
  return (flags & FLAG[flag]) !== 0;
}

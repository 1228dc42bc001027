// Session: the state of one connection. Rule 1: every change of that state happens in this file.
// Rule 2: no promises, sockets or clocks; callers feed frames in, and the owner is told what they mean.
// Mirrors session.py.

import { PyisolateError } from "../errors.ts";
import {
  closeBody,
  decodeError,
  decodeValue,
  type ErrorBody,
  type EventName,
  type Hello,
  helloText,
  type IncomingBody,
  type MessageKind,
  type OutgoingBody,
  parseBody,
  parseHello,
} from "./bodies.ts";
import { areaBytes, encodeHead, type FrameHeader, type FrameSink, hasFlag, violation } from "./frame.ts";
import { FLAG, type KindName, type Limits, PROTOCOL_VERSIONS, WIRE } from "./kinds.ts";
import type { Value, ValueCodec } from "./values.ts";

/** A message ready to be written: the first frame's head, and attachments that may need more frames. */
export interface OutgoingMessage {
  readonly kind: KindName;
  readonly flags: number;
  readonly id: number;
  /** Header and body of the first frame. */
  readonly head: Buffer;
  readonly attachments: readonly Uint8Array[];
  /** Attachment bytes with all gaps. */
  readonly areaBytes: number;
}

/** What the session tells, and asks of, whoever runs it. `Ticket` is what the owner knows its call by. */
export interface SessionOwner<Ticket> {
  send(message: OutgoingMessage): void;
  /** Whether the way out has room for another call. */
  hasRoom(): boolean;
  /** What remains of the time limit of a call that had to wait, in whole milliseconds; undefined: no limit. */
  remainingMs(ticket: Ticket): number | undefined;
  /** Both sides speak a common version. */
  opened(): void;
  /** The peer calls; answer with `result` or `error` of this id. */
  called(id: number, method: string, args: Value[], timeoutMs: number | undefined): void;
  /** The peer no longer wants the answer of its call. */
  cancelled(id: number): void;
  answered(ticket: Ticket, value: Value, isLast: boolean): void;
  failed(ticket: Ticket, error: ErrorBody): void;
  notified(ticket: Ticket, event: EventName, data: Value): void;
  /** The call could not be sent after all; it has ended. */
  refused(ticket: Ticket, error: PyisolateError): void;
  released(id: number): void;
  pinged(): void;
  stopped(): void;
}

export interface SessionOptions {
  readonly limits: Limits;
  readonly codec: ValueCodec;
  /** This side is a worker: the peer may send stop. */
  readonly isStoppable: boolean;
  /** Where the counter of ids starts, and after which it starts at 1 again. */
  readonly idRange?: { readonly first: number; readonly last: number };
}

/** A message of which frames or attachment bytes are missing. */
interface Incoming {
  readonly kind: MessageKind;
  /** Without `more`. */
  readonly flags: number;
  readonly id: number;
  readonly body: IncomingBody;
  readonly area: Uint8Array;
  filledBytes: number;
}

const NOTHING = new Uint8Array(0);

export class Session<Ticket extends object> implements FrameSink {
  readonly #owner: SessionOwner<Ticket>;
  readonly #options: SessionOptions;
  #peer: Hello | undefined;
  #nextId: number;
  /** Calls of this side that wait for a credit or for room, in order. */
  readonly #waiting = new Map<Ticket, OutgoingBody>();
  readonly #local = new Map<number, Ticket>();
  readonly #remote = new Set<number>();
  /** The message of the frame that is being read. */
  #current: Incoming | undefined;
  /** The message that goes on in further frames. */
  #chunked: Incoming | undefined;

  constructor(options: SessionOptions, owner: SessionOwner<Ticket>) {
    this.#options = options;
    this.#owner = owner;
    this.#nextId = options.idRange?.first ?? 1;
  }

  /** Sends hello; must come first. */
  open(): void {
    const { min, max } = PROTOCOL_VERSIONS;
    this.#sendFrame("hello", 0, 0, helloText({ protocol: [min, max], features: [], limits: this.#options.limits }));
  }

  get isOpen(): boolean {
    return this.#peer !== undefined;
  }

  /** Whether calls of either side have not ended. */
  get isBusy(): boolean {
    return this.#waiting.size + this.#local.size + this.#remote.size > 0;
  }

  /** Calls of this side that have not ended, sent or not. */
  tickets(): Ticket[] {
    return [...this.#local.values(), ...this.#waiting.keys()];
  }

  /** Starts a call, at once or as soon as the peer's credits and the way out allow. `timeoutMs`: its whole time limit. */
  call(ticket: Ticket, body: OutgoingBody, timeoutMs: number | undefined): void {
    if (this.#waiting.size === 0 && this.#canStart()) this.#start(ticket, body, timeoutMs);
    else this.#waiting.set(ticket, body);
  }

  #canStart(): boolean {
    return this.#peer !== undefined && this.#local.size < this.#peer.limits.calls && this.#owner.hasRoom();
  }

  /** Starts the calls that wait, as far as credits and room go. */
  startWaiting(): void {
    for (const [ticket, body] of this.#waiting) {
      if (!this.#canStart()) return;
      this.#waiting.delete(ticket);
      this.#start(ticket, body, this.#owner.remainingMs(ticket));
    }
  }

  /** The caller no longer wants the result. A call that was sent stays live until its answer. */
  cancel(ticket: Ticket): void {
    if (this.#waiting.delete(ticket)) return;
    for (const [id, local] of this.#local) if (local === ticket) this.#sendFrame("cancel", 0, id, "");
  }

  /** Ends a call of the peer, or gives an item of its stream. Raises VALUE_UNSUPPORTED, and nothing was sent. */
  result(id: number, body: OutgoingBody, isLast = true): void {
    if (!this.#remote.has(id)) return;
    this.#sendMessage("result", FLAG.reply | (isLast ? FLAG.last : 0), id, body);
    if (isLast) this.#remote.delete(id);
  }

  /** Ends a call of the peer. Raises VALUE_UNSUPPORTED, and nothing was sent. */
  error(id: number, text: string): void {
    if (!this.#remote.has(id)) return;
    this.#sendFrame("error", FLAG.reply | FLAG.last, id, text);
    this.#remote.delete(id);
  }

  /** Tells the caller of a running call. Raises VALUE_UNSUPPORTED, and nothing was sent. */
  notify(id: number, body: OutgoingBody): void {
    if (this.#remote.has(id)) this.#sendMessage("event", FLAG.reply, id, body);
  }

  pong(): void {
    this.#sendFrame("pong", 0, 0, "");
  }

  stop(): void {
    this.#sendFrame("stop", 0, 0, "");
  }

  /** Calls of the peer that have not ended. */
  remoteIds(): number[] {
    return [...this.#remote];
  }

  // What comes in: a header, then its body, then its end.

  header(header: FrameHeader): void {
    const { kind, rules } = header;
    if (this.#peer === undefined) {
      checkFirst(header);
      return;
    }
    if (kind === "hello") throw violation("a second hello");
    if (rules.feature !== undefined) throw violation(`${kind} frame without its feature`);
    if (kind === "stop" && !this.#options.isStoppable) throw violation("stop to a side that is no worker");
    if (this.#chunked !== undefined && belongsTo(this.#chunked, header)) checkContinuing(this.#chunked, header);
    else this.#checkStarting(header);
  }

  #checkStarting(header: FrameHeader): void {
    const { kind, rules, id, flags } = header;
    if (rules.body !== "empty" && header.bodyBytes === 0) throw violation(`${kind} frame without a body`);
    if (hasFlag(flags, "more")) {
      if (this.#chunked !== undefined)
        throw violation("a second message of several frames before the first is complete");
      if (header.attachmentBytes !== WIRE.attachmentBytes)
        throw violation(`${kind} frame with "more" that is not full`);
    }
    if (hasFlag(flags, "reply") && !this.#local.has(id)) throw violation(`${kind} of call ${id}, which is not live`);
    if (kind !== "call") return;
    if (this.#remote.has(id)) throw violation(`call with id ${id}, which is live`);
    if (this.#remote.size >= this.#options.limits.calls) {
      throw violation(`more than ${this.#options.limits.calls} calls at a time`);
    }
  }

  body(header: FrameHeader, bytes: Buffer, start: number): Uint8Array {
    if (this.#chunked !== undefined && belongsTo(this.#chunked, header)) {
      this.#current = this.#chunked;
      const filled = this.#chunked.filledBytes;
      this.#chunked.filledBytes += header.attachmentBytes;
      return this.#chunked.area.subarray(filled, this.#chunked.filledBytes);
    }
    if (header.kind === "hello") this.#receiveHello(parseHello(bytes, start, start + header.bodyBytes));
    if (!isMessage(header.kind)) return NOTHING;
    return this.#begin(header, header.kind, bytes, start);
  }

  #begin(header: FrameHeader, kind: MessageKind, bytes: Buffer, start: number): Uint8Array {
    const { attachmentBytes, bodyBytes, id } = header;
    const body = parseBody(kind, bytes, start, start + bodyBytes, this.#options.limits.messageBytes);
    const hasMore = hasFlag(header.flags, "more");
    if (hasMore ? body.areaBytes <= attachmentBytes : body.areaBytes !== attachmentBytes) {
      throw violation(
        `${kind} with ${attachmentBytes} attachment bytes${hasMore ? " and more" : ""}, said ${body.areaBytes}`,
      );
    }
    const flags = header.flags & ~FLAG.more;
    const area = body.areaBytes === 0 ? NOTHING : allocate(body.areaBytes);
    this.#current = { kind, flags, id, body, area, filledBytes: attachmentBytes };
    if (hasMore) this.#chunked = this.#current;
    if (kind === "call") this.#remote.add(id);
    return area === NOTHING ? NOTHING : area.subarray(0, attachmentBytes);
  }

  end(header: FrameHeader): void {
    const { kind, id } = header;
    const current = this.#current;
    this.#current = undefined;
    if (current !== undefined) {
      if (current.filledBytes < current.area.byteLength) return;
      if (current === this.#chunked) this.#chunked = undefined;
      this.#deliver(current);
    } else if (kind === "hello") {
      this.#owner.opened();
      this.startWaiting();
    } else if (kind === "cancel") {
      if (this.#remote.has(id)) this.#owner.cancelled(id);
    } else if (kind === "release") this.#owner.released(id);
    else if (kind === "ping") this.#owner.pinged();
    else if (kind === "stop") this.#owner.stopped();
  }

  #deliver({ kind, flags, id, body, area }: Incoming): void {
    const { codec } = this.#options;
    const { fields } = body;
    if (kind === "call") {
      const args = decodeValue(fields.args, body, area, codec) as Value[];
      this.#owner.called(id, fields.method as string, args, fields.timeoutMs as number | undefined);
      return;
    }
    const ticket = this.#local.get(id) as Ticket;
    if (kind === "event") {
      const data = decodeValue(fields.data, body, area, codec);
      this.#owner.notified(ticket, fields.event as EventName, data);
      return;
    }
    const isLast = hasFlag(flags, "last");
    const answer = kind === "error" ? decodeError(fields, body, codec) : decodeValue(fields.value, body, area, codec);
    if (isLast) this.#local.delete(id);
    if (kind === "error") this.#owner.failed(ticket, answer as ErrorBody);
    else this.#owner.answered(ticket, answer as Value, isLast);
    if (isLast && this.#waiting.size > 0) this.startWaiting();
  }

  #receiveHello(hello: Hello): void {
    const { min, max } = PROTOCOL_VERSIONS;
    const [peerMin, peerMax] = hello.protocol;
    if (peerMin > max || peerMax < min) {
      throw new PyisolateError(
        "PROTOCOL_MISMATCH",
        `peer speaks protocol versions ${peerMin} to ${peerMax}, this side ${min} to ${max}`,
        { next: "Bring both sides to the same version of pyisolate; the pack's image may need a rebuild." },
      );
    }
    this.#peer = hello;
  }

  // What goes out.

  #start(ticket: Ticket, body: OutgoingBody, timeoutMs: number | undefined): void {
    const id = this.#takeId();
    this.#local.set(id, ticket);
    try {
      this.#sendMessage("call", 0, id, body, timeoutMs);
    } catch (error) {
      this.#local.delete(id);
      this.#owner.refused(ticket, error as PyisolateError);
    }
  }

  #takeId(): number {
    while (this.#local.has(this.#nextId)) this.#advanceId();
    const id = this.#nextId;
    this.#advanceId();
    return id;
  }

  #advanceId(): void {
    this.#nextId = this.#nextId === (this.#options.idRange?.last ?? WIRE.maxId) ? 1 : this.#nextId + 1;
  }

  #sendFrame(kind: KindName, flags: number, id: number, text: string): void {
    const head = encodeHead(kind, flags, id, text, 0);
    this.#owner.send({ kind, flags, id, head, attachments: [], areaBytes: 0 });
  }

  #sendMessage(kind: MessageKind, flags: number, id: number, body: OutgoingBody, timeoutMs?: number): void {
    const { attachments } = body;
    const total = attachments.length === 0 ? 0 : areaBytes(attachments.map((attachment) => attachment.byteLength));
    const accepted = this.#peer?.limits.messageBytes ?? 0;
    if (total > accepted) {
      throw new PyisolateError(
        "VALUE_UNSUPPORTED",
        `a ${kind} of ${total} bytes is too large: the peer accepts ${accepted}`,
        {
          next: "Send it in several parts.",
        },
      );
    }
    const isWhole = total <= WIRE.attachmentBytes;
    const first = isWhole ? total : WIRE.attachmentBytes;
    const head = encodeHead(kind, isWhole ? flags : flags | FLAG.more, id, closeBody(body, timeoutMs), first);
    this.#owner.send({ kind, flags, id, head, attachments, areaBytes: total });
  }
}

function checkFirst({ kind, bodyBytes }: FrameHeader): void {
  if (kind !== "hello") throw violation(`${kind} frame before hello`);
  if (bodyBytes === 0 || bodyBytes > WIRE.helloBytes) {
    throw violation(`hello with a body of ${bodyBytes} bytes, expected up to ${WIRE.helloBytes}`);
  }
}

/** Whether the frame is of the same call, in the same role, as the message that is under way. */
function belongsTo(message: Incoming, { kind, id, flags }: FrameHeader): boolean {
  if (id !== message.id || kind === "release") return false;
  return hasFlag(flags, "reply") === hasFlag(message.flags, "reply");
}

function checkContinuing(message: Incoming, header: FrameHeader): void {
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

function isMessage(kind: KindName): kind is MessageKind {
  return kind === "call" || kind === "result" || kind === "error" || kind === "event";
}

/** Not zeroed: every byte is received before anyone sees it. */
function allocate(bytes: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
}

// Session: the state of one connection. Rule 1: every change of that state happens in this file.
// Rule 2: no promises, sockets or clocks; callers feed frames in, and the owner is told what they mean.
// Mirrors session.py.

import { PyisolateError } from "../errors.ts";
import {
  attachText,
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
  parseAttach,
  parseBody,
  parseHello,
} from "./bodies.ts";
import { areaBytes, encodeHead, type FrameHeader, type FrameSink, hasFlag, violation } from "./frame.ts";
import { Holdings } from "./holdings.ts";
import { allocate, belongsTo, checkContinuing, type Incoming, isMessage } from "./incoming.ts";
import { FLAG, type KindName, type Limits, PROTOCOL_VERSIONS, WIRE } from "./kinds.ts";
import type { LeaseBook, Segment, Value, ValueCodec } from "./values.ts";

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
  /** The peer has taken an item of its call's stream. */
  moreWanted(id: number): void;
  /** false: nobody wanted the value; the leases that came with it are released. */
  answered(ticket: Ticket, value: Value, isLast: boolean, id: number): boolean;
  failed(ticket: Ticket, error: ErrorBody): void;
  notified(ticket: Ticket, event: EventName, data: Value): void;
  /** The call could not be sent after all; it has ended. */
  refused(ticket: Ticket, error: PyisolateError): void;
  /** The peer has made a segment for this side. */
  attached(id: number, segment: Segment): void;
  /** The peer wants a segment back: `release` it as soon as nothing uses it. */
  wantedBack(id: number): void;
  pinged(): void;
  stopped(): void;
}

export interface SessionOptions {
  readonly limits: Limits;
  readonly codec: ValueCodec;
  /** This side is a worker: the peer may send stop, and attach. */
  readonly isStoppable: boolean;
  /** What this side can do beyond the version. */
  readonly features?: readonly string[];
  /** Where the counter of ids starts, and after which it starts at 1 again. */
  readonly idRange?: { readonly first: number; readonly last: number };
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
  /** Items of streams that their consumer has not taken: of calls of the peer, and of this side. */
  readonly #itemsOut = new Map<number, number>();
  readonly #itemsIn = new Map<number, number>();
  readonly #holdings = new Holdings();
  /** How to drop the leases of the message that is being delivered. */
  #fresh: (() => void)[] | undefined;
  #isEnded = false;
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
    const { features = [], limits } = this.#options;
    this.#sendFrame("hello", 0, 0, helloText({ protocol: [min, max], features, limits }));
  }

  /** The connection has ended: so have all leases and segments, and nothing more is sent. */
  close(): void {
    this.#isEnded = true;
    this.#holdings.endAllOurs();
  }

  /** Whether both sides name the feature; false before the peer's hello. */
  hasFeature(name: string): boolean {
    return (this.#options.features?.includes(name) && this.#peer?.features.includes(name)) ?? false;
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
    const body = this.#waiting.get(ticket);
    if (body !== undefined) {
      this.#waiting.delete(ticket);
      this.#drop(body);
      return;
    }
    for (const [id, local] of this.#local) if (local === ticket) this.#sendFrame("cancel", 0, id, "");
  }

  /** Whether the peer takes streams at all. */
  get acceptsItems(): boolean {
    return (this.#peer?.limits.items ?? 0) > 0;
  }

  /** Whether the peer takes another item for a call of its own now. */
  canSendItem(id: number): boolean {
    const accepted = this.#peer?.limits.items ?? 0;
    return this.#remote.has(id) && (this.#itemsOut.get(id) ?? 0) < accepted && this.#owner.hasRoom();
  }

  /** An item of the call was taken: the peer may send another. Nothing happens when the call has ended. */
  more(id: number, ticket: Ticket): void {
    if (this.#isEnded || this.#local.get(id) !== ticket) return;
    this.#itemsIn.set(id, (this.#itemsIn.get(id) ?? 0) - 1);
    this.#sendFrame("release", FLAG.more, id, "");
  }

  /**
   * Ends a call of the peer, or gives an item of its stream, for which `canSendItem` holds.
   * Raises VALUE_UNSUPPORTED, and nothing was sent.
   */
  result(id: number, body: OutgoingBody, isLast = true): void {
    if (!this.#remote.has(id)) {
      this.#drop(body);
      return;
    }
    this.#sendOrDrop("result", FLAG.reply | (isLast ? FLAG.last : 0), id, body);
    if (isLast) this.#forgetRemote(id);
    else this.#itemsOut.set(id, (this.#itemsOut.get(id) ?? 0) + 1);
  }

  /** Ends a call of the peer. Raises VALUE_UNSUPPORTED, and nothing was sent. */
  error(id: number, text: string): void {
    if (!this.#remote.has(id)) return;
    this.#sendFrame("error", FLAG.reply | FLAG.last, id, text);
    this.#forgetRemote(id);
  }

  #forgetRemote(id: number): void {
    this.#remote.delete(id);
    if (this.#itemsOut.size > 0) this.#itemsOut.delete(id);
  }

  /** Tells the caller of a running call. Raises VALUE_UNSUPPORTED, and nothing was sent. */
  notify(id: number, body: OutgoingBody): void {
    if (this.#remote.has(id)) this.#sendOrDrop("event", FLAG.reply, id, body);
    else this.#drop(body);
  }

  /** Leases of this side, for messages that are being encoded. */
  readonly leases: LeaseBook = {
    open: (onEnd) => {
      if (this.#isEnded) {
        onEnd();
        return 0; // nothing is sent any more
      }
      const id = this.#takeId();
      this.#holdings.addOurs(id, onEnd);
      return id;
    },
    end: (id) => this.#holdings.endOurs(id),
  };

  /**
   * Gives the peer, a worker, a segment until it releases the id. `onEnd`: once, then or at the connection's end.
   * Raises VALUE_UNSUPPORTED when the peer does not know segments.
   */
  attach(segment: Segment, onEnd: () => void): number {
    if (!this.hasFeature("segments")) {
      throw new PyisolateError("VALUE_UNSUPPORTED", 'the peer takes no shared memory: it lacks the feature "segments"');
    }
    const id = this.#takeId();
    this.#holdings.addOurs(id, onEnd);
    this.#sendFrame("attach", 0, id, attachText(segment));
    return id;
  }

  /** Asks for a segment that was attached. */
  giveBack(id: number): void {
    if (!this.#isEnded && this.#holdings.hasOurs(id)) this.#sendFrame("attach", 0, id, attachText(undefined));
  }

  /** This side no longer uses a lease or segment of the peer. */
  release(id: number): void {
    if (!this.#isEnded && this.#holdings.removeTheirs(id)) this.#sendFrame("release", 0, id, "");
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
    if (rules.feature !== undefined && !this.hasFeature(rules.feature)) {
      throw violation(`${kind} frame without its feature`);
    }
    if ((kind === "stop" || kind === "attach") && !this.#options.isStoppable) {
      throw violation(`${kind} to a side that is no worker`);
    }
    if (this.#chunked !== undefined && belongsTo(this.#chunked, header)) checkContinuing(this.#chunked, header);
    else this.#checkStarting(header);
  }

  #checkStarting(header: FrameHeader): void {
    const { kind, rules, id, flags } = header;
    if (rules.body !== "empty" && header.bodyBytes === 0) throw violation(`${kind} frame without a body`);
    if (hasFlag(flags, "more") && kind !== "release") {
      if (this.#chunked !== undefined)
        throw violation("a second message of several frames before the first is complete");
      if (header.attachmentBytes !== WIRE.attachmentBytes)
        throw violation(`${kind} frame with "more" that is not full`);
    }
    if (hasFlag(flags, "reply") && !this.#local.has(id)) throw violation(`${kind} of call ${id}, which is not live`);
    if (kind === "result" && !hasFlag(flags, "last")) this.#countItem(id);
    if (kind !== "call") return;
    if (this.#isTheirs(id)) throw violation(`call with id ${id}, which is live`);
    if (this.#remote.size >= this.#options.limits.calls) {
      throw violation(`more than ${this.#options.limits.calls} calls at a time`);
    }
  }

  #countItem(id: number): void {
    const count = (this.#itemsIn.get(id) ?? 0) + 1;
    if (count > this.#options.limits.items) throw violation(`more items of call ${id} than this side accepts`);
    this.#itemsIn.set(id, count);
  }

  body(header: FrameHeader, bytes: Buffer, start: number): Uint8Array {
    if (this.#chunked !== undefined && belongsTo(this.#chunked, header)) {
      this.#current = this.#chunked;
      const filled = this.#chunked.filledBytes;
      this.#chunked.filledBytes += header.attachmentBytes;
      return this.#chunked.area.subarray(filled, this.#chunked.filledBytes);
    }
    if (header.kind === "hello") this.#receiveHello(parseHello(bytes, start, start + header.bodyBytes));
    if (header.kind === "attach") this.#receiveAttach(header.id, parseAttach(bytes, start, start + header.bodyBytes));
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
    } else if (kind === "release") {
      if (hasFlag(header.flags, "more")) this.#receiveMore(id);
      else this.#holdings.endOurs(id);
    } else if (kind === "ping") this.#owner.pinged();
    else if (kind === "stop") this.#owner.stopped();
  }

  #deliver({ kind, flags, id, body, area }: Incoming): void {
    const { fields } = body;
    this.#fresh = undefined;
    if (kind === "call") {
      const args = this.#decode(fields.args, body, area) as Value[];
      this.#owner.called(id, fields.method as string, args, fields.timeoutMs as number | undefined);
      return;
    }
    const ticket = this.#local.get(id) as Ticket;
    if (kind === "event") {
      const data = this.#decode(fields.data, body, area);
      this.#owner.notified(ticket, fields.event as EventName, data);
      return;
    }
    const isLast = hasFlag(flags, "last");
    const answer =
      kind === "error" ? decodeError(fields, body, this.#options.codec) : this.#decode(fields.value, body, area);
    if (isLast) {
      this.#local.delete(id);
      if (this.#itemsIn.size > 0) this.#itemsIn.delete(id);
    }
    if (kind === "error") this.#owner.failed(ticket, answer as ErrorBody);
    else if (!this.#owner.answered(ticket, answer as Value, isLast, id)) this.#dropFresh();
    if (isLast && this.#waiting.size > 0) this.startWaiting();
  }

  #decode(json: unknown, body: IncomingBody, area: Uint8Array): Value {
    return decodeValue(json, body, area, this.#options.codec, this.#hold);
  }

  readonly #hold = (id: unknown): (() => void) => {
    if (!isId(id) || this.#isTheirs(id)) throw violation(`lease ${JSON.stringify(id)}, which is no id or is live`);
    this.#holdings.addTheirs(id, "lease");
    let isHeld = true;
    const drop = () => {
      if (isHeld) this.release(id);
      isHeld = false;
    };
    this.#fresh ??= [];
    this.#fresh.push(drop);
    return drop;
  };

  #dropFresh(): void {
    for (const drop of this.#fresh ?? []) drop();
    this.#fresh = undefined;
  }

  #receiveAttach(id: number, segment: Segment | undefined): void {
    if (segment === undefined) {
      if (this.#holdings.wantBack(id)) this.#owner.wantedBack(id);
      return;
    }
    if (this.#isTheirs(id)) throw violation(`attach with id ${id}, which is live`);
    this.#holdings.addTheirs(id, "segment");
    this.#owner.attached(id, segment);
  }

  /** The id is that of a call of the peer; it may have ended. */
  #receiveMore(id: number): void {
    if (!this.#remote.has(id)) return;
    const count = this.#itemsOut.get(id) ?? 0;
    if (count === 0) throw violation(`release with "more" for call ${id}, of which no item is on its way`);
    this.#itemsOut.set(id, count - 1);
    this.#owner.moreWanted(id);
  }

  /** Whether the peer has given the id to something that is live. */
  #isTheirs(id: number): boolean {
    return this.#remote.has(id) || this.#holdings.hasTheirs(id);
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
      this.#drop(body);
      this.#owner.refused(ticket, error as PyisolateError);
    }
  }

  #takeId(): number {
    while (this.#local.has(this.#nextId) || this.#holdings.hasOurs(this.#nextId)) this.#advanceId();
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

  /** The message is not sent after all. */
  #drop(body: OutgoingBody): void {
    for (const id of body.leases) this.#holdings.endOurs(id);
  }

  #sendOrDrop(kind: MessageKind, flags: number, id: number, body: OutgoingBody): void {
    try {
      this.#sendMessage(kind, flags, id, body);
    } catch (error) {
      this.#drop(body);
      throw error;
    }
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

function isId(id: unknown): id is number {
  return Number.isInteger(id) && (id as number) > 0 && (id as number) <= WIRE.maxId;
}

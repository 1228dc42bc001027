// Target "session": any bytes in any pieces, into a session of either side that has calls, leases and segments open.
// Input: a byte that says which side this is and what it does, a byte that says how the stream is cut, and the stream,
// or records that the stream is made of: so that a text may change its length and still lie in a frame that fits.
// Mirrors python/session.py: the same input means the same there.

import { isPyisolateError } from "../../../src/errors.ts";
import { callBody, errorText, eventBody, resultBody } from "../../../src/rpc/bodies.ts";
import { encodeHead, FrameReader } from "../../../src/rpc/frame.ts";
import { DEFAULT_LIMITS, type Limits } from "../../../src/rpc/kinds.ts";
import type { OutgoingMessage, SessionOwner } from "../../../src/rpc/session.ts";
import { Session } from "../../../src/rpc/session.ts";
import { OutgoingAttachments, type Segment, type Value, ValueCodec } from "../../../src/rpc/values.ts";
import { guarded, keepsProtocol, randomSteps } from "./guard.ts";
import { type Extension, HostMemory, WorkerMemory } from "./memory.ts";

interface Side {
  readonly features: readonly string[];
  readonly isStoppable: boolean;
  readonly limits: Limits;
  readonly memory: () => Extension;
}

const small: Limits = { calls: 2, messageBytes: 4096, items: 1 };

/** Chosen by the lowest two bits of the first byte. */
const SIDES: readonly Side[] = [
  { features: ["segments"], isStoppable: false, limits: DEFAULT_LIMITS, memory: () => new HostMemory() },
  { features: ["segments"], isStoppable: true, limits: DEFAULT_LIMITS, memory: () => new WorkerMemory() },
  { features: [], isStoppable: false, limits: DEFAULT_LIMITS, memory: () => new WorkerMemory() },
  { features: [], isStoppable: true, limits: small, memory: () => new WorkerMemory() },
];
/** Of the first byte: the peer's hello has come already; and two bits, how many calls are open. */
const HELLO_BIT = 4;
const CALLS_SHIFT = 3;
const RECORDS_BIT = 32;
/** Ends a record: no text has this byte. */
const RECORD_END = 0xff;

export const fuzz = guarded(accepts);

/** Whether the stream keeps to the protocol. */
export function accepts(input: Buffer): boolean {
  if (input.byteLength < 2) return true;
  const [shape, cut] = input as unknown as [number, number];
  const side = SIDES[shape & 3] as Side;
  const connection = new Connection(side, (shape >> CALLS_SHIFT) & 3);
  try {
    return keepsProtocol(() => {
      if ((shape & HELLO_BIT) !== 0) connection.receive(hello(side), 0);
      const rest = input.subarray(2);
      connection.receive((shape & RECORDS_BIT) === 0 ? rest : streamOf(rest), cut);
    });
  } finally {
    connection.close();
  }
}

function hello({ features }: Side): Buffer {
  return encodeHead("hello", 0, 0, JSON.stringify({ protocol: [1, 1], features, limits: DEFAULT_LIMITS }), 0);
}

/** A record: kind, flags, id, attachment bytes in steps of 64; the text of the body. */
function streamOf(records: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < records.byteLength; ) {
    const found = records.indexOf(RECORD_END, at);
    const end = found < 0 ? records.byteLength : found;
    if (end - at >= 4) parts.push(frameOf(records.subarray(at, end)));
    at = end + 1;
  }
  return Buffer.concat(parts);
}

function frameOf(record: Buffer): Buffer {
  const [kind, flags, id, steps] = record as unknown as [number, number, number, number];
  const textBytes = record.byteLength - 4;
  const bodyBytes = Math.ceil(textBytes / 16) * 16;
  const frame = Buffer.alloc(16 + bodyBytes + steps * 64);
  frame.writeUInt32LE(bodyBytes, 0);
  frame.writeUInt32LE(steps * 64, 4);
  frame.writeUInt8(kind, 8);
  frame.writeUInt8(flags, 9);
  frame.writeUInt32LE(id, 12);
  frame.fill(" ", 16, 16 + bodyBytes);
  record.copy(frame, 16, 4);
  return frame;
}

interface Ticket {
  readonly name: string;
}

/** A session and what a program would do with it. */
class Connection implements SessionOwner<Ticket> {
  readonly #session: Session<Ticket>;
  readonly #codec: ValueCodec;
  readonly #reader: FrameReader;
  readonly #memory: Extension;
  readonly #callCount: number;

  constructor({ features, isStoppable, limits, memory }: Side, callCount: number) {
    this.#callCount = callCount;
    this.#memory = memory();
    this.#codec = new ValueCodec({ extension: this.#memory });
    this.#session = new Session({ limits, codec: this.#codec, isStoppable, features }, this);
    this.#memory.bind(this.#session);
    this.#reader = new FrameReader(this.#session);
    this.#session.open();
  }

  receive(stream: Buffer, cut: number): void {
    const step = randomSteps(cut);
    let at = 0;
    while (at < stream.byteLength) {
      const end = cut === 0 ? stream.byteLength : at + 1 + step(cut);
      this.#reader.feed(stream.subarray(at, end));
      while (this.#reader.read(64) > 0);
      at = end;
    }
  }

  close(): void {
    this.#session.close();
    this.#memory.close();
  }

  opened(): void {
    for (let count = 0; count < this.#callCount; count += 1) {
      const args = count === 0 ? this.#memory.gifts() : [];
      this.#session.call({ name: "m" }, callBody("m", args, this.#codec, this.#sink()), undefined);
    }
  }

  /** Left open, answered with its own arguments, told of and failed, or answered with a stream: by its id. */
  called(id: number, method: string, args: Value[]): void {
    const ways = [
      () => {},
      () => this.#session.result(id, resultBody(args, this.#codec, this.#sink())),
      () => {
        this.#session.notify(id, eventBody("log", args, this.#codec, this.#sink()));
        this.#session.error(id, errorText(new Error(method)));
      },
      () => this.moreWanted(id),
    ];
    try {
      ways[id % ways.length]?.();
    } catch (error) {
      // What came from there may be too long for its limits on the way back.
      if (!isPyisolateError(error, "VALUE_UNSUPPORTED")) throw error;
    }
    this.#memory.look(args);
  }

  moreWanted(id: number): void {
    while (this.#session.canSendItem(id)) {
      this.#session.result(id, resultBody(id, this.#codec, this.#sink()), false);
    }
  }

  answered(ticket: Ticket, value: Value, isLast: boolean, id: number): boolean {
    this.#memory.look(value);
    if (!isLast) this.#session.more(id, ticket);
    return id % 2 === 0;
  }

  notified(_ticket: Ticket, _event: string, data: Value): void {
    this.#memory.look(data);
  }

  attached(id: number, segment: Segment): void {
    this.#memory.onAttach?.(id, segment);
  }

  wantedBack(id: number): void {
    this.#memory.onGiveBack?.(id);
  }

  pinged(): void {
    this.#session.pong();
  }

  #sink(): OutgoingAttachments {
    return new OutgoingAttachments(this.#session.leases);
  }

  send(_message: OutgoingMessage): void {}
  hasRoom = () => true;
  remainingMs = () => undefined;
  cancelled(): void {}
  failed(): void {}
  refused(): void {}
  stopped(): void {}
}

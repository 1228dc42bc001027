// Session against the golden streams, and its own rules about ids and credits. No sockets, no promises.

import { describe, expect, test } from "vitest";
import type { PyisolateError } from "../../src/errors.ts";
import { callBody, errorText, resultBody } from "../../src/rpc/bodies.ts";
import { FrameReader, hasFlag } from "../../src/rpc/frame.ts";
import { DEFAULT_LIMITS, type Limits } from "../../src/rpc/kinds.ts";
import { type OutgoingMessage, Session, type SessionOwner } from "../../src/rpc/session.ts";
import { OutgoingAttachments, type Segment, Tuple, type Value, ValueCodec } from "../../src/rpc/values.ts";
import { frames, type GoldenStream, invalid, joinParts } from "../wire/golden.ts";

const plainCodec = new ValueCodec();
const sink = () => new OutgoingAttachments();
const body = (method: string, args: Value[] = []) => callBody(method, args, plainCodec, sink());

interface Ticket {
  readonly name: string;
}

interface RecorderOptions {
  readonly limits?: Partial<Limits> | undefined;
  readonly stoppable?: boolean;
  readonly features?: readonly string[];
  readonly ids?: [number, number];
  readonly codec?: ValueCodec;
}

/** A session whose owner writes everything down. */
class Recorder implements SessionOwner<Ticket> {
  readonly log: string[] = [];
  readonly sent: OutgoingMessage[] = [];
  room = true;
  readonly session: Session<Ticket>;
  readonly reader: FrameReader;

  constructor(options: RecorderOptions = {}) {
    const { stoppable = false, ids: [first, last] = [1, 2 ** 32 - 1] } = options;
    const { features = [], codec = plainCodec } = options;
    const idRange = { first, last };
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.session = new Session({ limits, codec, isStoppable: stoppable, features, idRange }, this);
    this.reader = new FrameReader(this.session);
    this.session.open();
  }

  send = (message: OutgoingMessage) => void this.sent.push(message);
  hasRoom = () => this.room;
  timeLeft: number | undefined;
  remainingMs = () => this.timeLeft;
  opened = () => {};
  called = (id: number, _method: string, args: Value[]) => void this.log.push(`call ${id}${lengths(args)}`);
  moreWanted = (id: number) => void this.log.push(`more ${id}`);
  cancelled = (id: number) => void this.log.push(`cancel ${id}`);
  isWanted = true;
  answered = (ticket: Ticket, value: Value, isLast: boolean) => {
    this.log.push(`result ${ticket.name}${isLast ? " last" : ""}${lengths(value)}`);
    return this.isWanted;
  };
  failed = (ticket: Ticket) => void this.log.push(`error ${ticket.name} last`);
  notified = (ticket: Ticket, _event: string, data: Value) =>
    void this.log.push(`event ${ticket.name}${lengths(data)}`);
  refused = (ticket: Ticket, error: PyisolateError) => void this.log.push(`refused ${ticket.name} ${error.code}`);
  readonly segments: Segment[] = [];
  attached = (id: number, segment: Segment) => {
    this.segments.push(segment);
    this.log.push(`attach ${id}`);
  };
  wantedBack = (id: number) => void this.log.push(`attach ${id}`);
  pinged = () => {};
  stopped = () => void this.log.push("stop 0");

  call(name: string): Ticket {
    const ticket = { name };
    this.session.call(ticket, body("m"), this.timeLeft);
    return ticket;
  }

  receive(bytes: Buffer, step = bytes.byteLength): void {
    for (let at = 0; at < bytes.byteLength; at += step) {
      this.reader.feed(bytes.subarray(at, at + step));
      while (this.reader.read(64) > 0);
    }
  }

  /** Kind and id of every frame sent since the last time, hello left out. */
  takeSent(): string[] {
    return this.sent.splice(0).flatMap(({ kind, id }) => (kind === "hello" ? [] : `${kind} ${id}`));
  }
}

/** Byte lengths of the attachments that a value names, in the order of the list as the golden streams name them. */
function lengths(value: Value): string {
  const found: number[] = [];
  const look = (item: Value): void => {
    if (item instanceof Uint8Array) found.push(item.byteLength);
    else if (Array.isArray(item)) for (const inner of item) look(inner);
  };
  look(value);
  return found.length === 0 ? "" : ` [${found.sort((a, b) => a - b).join(",")}]`;
}

function start(stream: GoldenStream): Recorder {
  const recorder = new Recorder(stream);
  for (let id = 1; id <= (stream.calls ?? 0); id += 1) recorder.call(String(id));
  return recorder;
}

function steps(bytes: Buffer): number[] {
  return bytes.byteLength > 2 ** 20 ? [bytes.byteLength, 65536] : [bytes.byteLength, 1];
}

test.each(frames.streams)("accepted: $name", (stream) => {
  const bytes = joinParts(stream.receive, frames.parts);
  for (const step of steps(bytes)) {
    const recorder = start(stream);
    recorder.receive(bytes, step);
    expect(recorder.log).toEqual(stream.messages);
    const isBroken = recorder.reader.isInsideFrame || recorder.session.isBusy;
    if (stream.end !== undefined) expect(isBroken ? "broken" : "closed").toBe(stream.end);
  }
});

test.each(invalid.streams)("refused: $name", (stream) => {
  const bytes = joinParts(stream.receive, invalid.parts);
  for (const step of steps(bytes)) {
    expect(() => start(stream).receive(bytes, step)).toThrowError(expect.objectContaining({ code: stream.code }));
  }
});

const hello = (limits: Partial<Limits> = {}) => {
  const text = JSON.stringify({ protocol: [1, 1], features: [], limits: { ...DEFAULT_LIMITS, ...limits } });
  return frame(1, 0, 0, text);
};

function frame(kind: number, flags: number, id: number, text = ""): Buffer {
  const padded = text.padEnd(Math.ceil(text.length / 16) * 16);
  const bytes = Buffer.alloc(16 + padded.length);
  bytes.writeUInt32LE(padded.length, 0);
  bytes.writeUInt8(kind, 8);
  bytes.writeUInt8(flags, 9);
  bytes.writeUInt32LE(id, 12);
  bytes.write(padded, 16);
  return bytes;
}

const result = (id: number) => frame(3, 3, id, '{"value":null}');

describe("ids", () => {
  test("count from 1 and start again after 2^32 - 1", () => {
    const recorder = new Recorder();
    recorder.receive(hello());
    for (const name of ["a", "b"]) recorder.call(name);
    expect(recorder.takeSent()).toEqual(["call 1", "call 2"]);

    const late = new Recorder({ ids: [2 ** 32 - 2, 2 ** 32 - 1] });
    late.receive(hello());
    for (const name of ["a", "b", "c"]) late.call(name);
    expect(late.takeSent()).toEqual(["call 4294967294", "call 4294967295", "call 1"]);
  });

  test("skip those that are live", () => {
    const recorder = new Recorder({ ids: [1, 4] });
    recorder.receive(hello());
    for (const name of ["a", "b", "c", "d"]) recorder.call(name);
    for (const id of [1, 4]) recorder.receive(result(id));
    for (const name of ["e", "f"]) recorder.call(name);
    expect(recorder.takeSent().slice(4)).toEqual(["call 1", "call 4"]);
  });

  test("a cancelled call stays live until it is answered", () => {
    const recorder = new Recorder();
    recorder.receive(hello());
    recorder.session.cancel(recorder.call("a"));
    expect(recorder.takeSent()).toEqual(["call 1", "cancel 1"]);
    expect(recorder.session.isBusy).toBe(true);
    recorder.receive(result(1));
    expect([recorder.log, recorder.session.isBusy]).toEqual([["result a last"], false]);
  });

  test("a cancel that crosses the answer is not sent", () => {
    const recorder = new Recorder();
    recorder.receive(hello());
    const ticket = recorder.call("a");
    recorder.receive(result(1));
    recorder.session.cancel(ticket);
    expect(recorder.takeSent()).toEqual(["call 1"]);
  });
});

describe("credits", () => {
  test("calls wait for hello, then for credits, in order", () => {
    const recorder = new Recorder();
    for (const name of ["a", "b", "c"]) recorder.call(name);
    expect(recorder.takeSent()).toEqual([]);
    recorder.receive(hello({ calls: 2, messageBytes: 0 }));
    expect(recorder.takeSent()).toEqual(["call 1", "call 2"]);
    recorder.call("d");
    recorder.receive(result(2));
    expect(recorder.takeSent()).toEqual(["call 3"]);
    recorder.receive(result(1));
    recorder.receive(result(3));
    expect(recorder.log).toEqual(["result b last", "result a last", "result c last"]);
  });

  test("a call that is cancelled while it waits is never sent", () => {
    const recorder = new Recorder();
    recorder.receive(hello({ calls: 1, messageBytes: 0 }));
    recorder.call("a");
    recorder.session.cancel(recorder.call("b"));
    recorder.receive(result(1));
    expect([recorder.takeSent(), recorder.session.isBusy]).toEqual([["call 1"], false]);
  });

  test("calls wait while the way out is full", () => {
    const recorder = new Recorder();
    recorder.receive(hello());
    recorder.room = false;
    recorder.call("a");
    expect(recorder.takeSent()).toEqual([]);
    recorder.room = true;
    recorder.session.startWaiting();
    expect(recorder.takeSent()).toEqual(["call 1"]);
  });

  test("the deadline on the wire is what remains when the call is sent", () => {
    const recorder = new Recorder();
    recorder.timeLeft = 1000;
    recorder.call("a");
    recorder.timeLeft = 400;
    recorder.receive(hello());
    expect(recorder.sent.at(-1)?.head.toString("latin1", 16).trimEnd()).toBe(
      '{"method":"m","args":[],"timeoutMs":400}',
    );
  });
});

describe("messages that are too large", () => {
  const small = { calls: 64, messageBytes: 128 };

  test("a call is refused and its id is free", () => {
    const recorder = new Recorder();
    recorder.receive(hello(small));
    recorder.session.call({ name: "a" }, body("m", [new Uint8Array(129)]), undefined);
    recorder.call("b");
    expect([recorder.log, recorder.takeSent()]).toEqual([["refused a VALUE_UNSUPPORTED"], ["call 2"]]);
  });

  test("a result is refused and the call can still be answered", () => {
    const recorder = new Recorder();
    recorder.receive(Buffer.concat([hello(small), frame(2, 0, 9, '{"method":"m","args":[]}')]));
    expect(() => recorder.session.result(9, resultBody(new Uint8Array(129), plainCodec, sink()))).toThrow(
      "the peer accepts 128",
    );
    recorder.session.error(9, errorText(new Error("too large")));
    expect([recorder.takeSent(), recorder.session.isBusy]).toEqual([["error 9"], false]);
  });

  test("an area beyond one frame is announced with more", () => {
    const recorder = new Recorder();
    recorder.receive(hello());
    recorder.session.call(
      { name: "a" },
      body("m", [new Tuple([new Uint8Array(2 ** 22), new Uint8Array(1)])]),
      undefined,
    );
    const message = recorder.sent.at(-1);
    expect(message?.areaBytes).toBe(2 ** 22 + 64);
    expect(hasFlag(message?.head[9] ?? 0, "more")).toBe(true);
    expect(message?.head.readUInt32LE(4)).toBe(2 ** 22);
  });
});

test("answers to calls that have ended are dropped", () => {
  const recorder = new Recorder();
  recorder.receive(Buffer.concat([hello(), frame(2, 0, 9, '{"method":"m","args":[]}')]));
  recorder.session.result(9, resultBody(1, plainCodec, sink()));
  recorder.session.result(9, resultBody(2, plainCodec, sink()));
  recorder.session.error(9, errorText(new Error()));
  expect(recorder.takeSent()).toEqual(["result 9"]);
});

describe("errors on the wire", () => {
  test("causes are cut at 8, texts at 65536 characters", () => {
    let error = new Error("0");
    for (let depth = 1; depth < 20; depth += 1) error = new Error(String(depth), { cause: error });
    error.message = "x".repeat(100_000);
    error.stack = `${"y".repeat(100_000)}end`;
    let described = JSON.parse(errorText(error));
    expect([described.message.length, described.traceback.length]).toEqual([65536, 65536]);
    expect(described.traceback.endsWith("end")).toBe(true);
    let depth = 0;
    for (; described !== undefined; described = described.cause) depth += 1;
    expect(depth).toBe(8);
  });

  test.each<[string, unknown, string]>([
    ["null", null, "null"],
    ["a string", "oops", "'oops'"],
    ["an object without a prototype", Object.create(null), "[Object: null prototype] {}"],
  ])("whatever is thrown has a text: %s", (_name, thrown, message) => {
    expect(JSON.parse(errorText(thrown))).toMatchObject({ message, traceback: "" });
  });
});

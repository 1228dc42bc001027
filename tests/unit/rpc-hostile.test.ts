// A real Peer against a socket that does what no honest peer does. It ends that connection, or shrugs; nobody else notices.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeHead } from "../../src/rpc/frame.ts";
import { KINDS } from "../../src/rpc/kinds.ts";
import type { Peer } from "../../src/rpc/peer.ts";
import type { Value } from "../../src/rpc/values.ts";
import { errorOf, framesOf, hello, type Side, useSockets } from "./rpc-support.ts";

const { openSockets, openPeers, openAgainstBytes } = useSockets();

const MiB = 2 ** 20;
const methods = { echo: ([value]: Value[]) => value ?? null };
const call = (id: number, args = "[]", method = "echo") =>
  encodeHead("call", 0, id, `{"method":${JSON.stringify(method)},"args":${args}}`, 0);

/** A header that says whatever it is told. */
function header(bodyBytes: number, attachmentBytes = 0, kind = 2, flags = 0, id = 1): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32LE(bodyBytes, 0);
  bytes.writeUInt32LE(attachmentBytes, 4);
  bytes.writeUInt8(kind, 8);
  bytes.writeUInt8(flags, 9);
  bytes.writeUInt32LE(id, 12);
  return bytes;
}

/** A frame whose body is any bytes. */
function raw(body: Buffer | string): Buffer {
  const text = Buffer.from(body);
  const padded = Buffer.alloc(Math.ceil(text.byteLength / 16) * 16, " ");
  text.copy(padded);
  return Buffer.concat([header(padded.byteLength), padded]);
}

// An honest pair in the same process, which must not notice.
let honest: Peer;
beforeEach(async () => {
  honest = (await openPeers({}, { methods })).near;
});
afterEach(async () => {
  expect(await honest.call("echo", ["still here"])).toBe("still here");
  honest.close();
});

async function expectViolation(bytes: Buffer | Buffer[], options: Side = {}, ours = 0): Promise<void> {
  const { peer, socket } = await openAgainstBytes({ methods, ...options });
  const calls = Promise.allSettled(Array.from({ length: ours }, () => peer.call("m", [])));
  socket.write(Array.isArray(bytes) ? Buffer.concat(bytes) : bytes);
  expect(await peer.closed).toMatchObject({ code: "PROTOCOL_VIOLATION" });
  await calls;
}

describe("lengths", () => {
  const sizes = [2 ** 31, 2 ** 32 - 1, 2 ** 32 - 64, 17];
  test.each([0, ...sizes])("a body of %d bytes, of which one is sent", async (size) => {
    await expectViolation([header(size), Buffer.alloc(1)]);
  });

  test.each(sizes)("%d attachment bytes, of which one is sent", async (size) => {
    await expectViolation([header(16, size), Buffer.from("{}".padEnd(16)), Buffer.alloc(1)]);
  });

  test.each<[string, Buffer]>([
    ["4 GB in attachments", raw('{"method":"echo","args":[{"$bytes":0}],"attachments":[4294967296]}')],
    ["more than numbers count", raw('{"method":"echo","args":[],"attachments":[9007199254740991,9007199254740991]}')],
    ["a million attachments", raw(`{"method":"echo","args":[],"attachments":[${"64,".repeat(1_000_000)}64]}`)],
  ])("%s", async (_name, bytes) => {
    await expectViolation(bytes);
  });

  test("2 GB declared and one byte sent cost no memory", async () => {
    const text = '{"method":"echo","args":[{"$bytes":0}],"attachments":[2147483648]}'.padEnd(80);
    const before = process.memoryUsage.rss();
    const { peer, socket } = await openAgainstBytes({ methods });
    socket.write(Buffer.concat([header(80, 4 * MiB, 2, 4), Buffer.from(text), Buffer.alloc(1)]));
    socket.write(Buffer.alloc(1));
    for (let turn = 0; turn < 20; turn += 1) await honest.call("echo", [turn]);
    expect(process.memoryUsage.rss() - before).toBeLessThan(16 * MiB);
    peer.close();
  });
});

describe("slowness and floods", () => {
  test("one byte at a time is understood, and delays nobody", async () => {
    const [mine, theirs] = await openSockets();
    const { Peer } = await import("../../src/rpc/peer.ts");
    const { SocketTransport } = await import("../../src/rpc/transport.ts");
    const peer = new Peer({ transport: new SocketTransport(mine), methods });
    const answers: Buffer[] = [];
    theirs.on("data", (chunk) => answers.push(chunk));
    let answered = 0;
    for (const byte of Buffer.concat([hello(), call(1, '["slow"]')])) {
      theirs.write(Buffer.of(byte));
      expect(await honest.call("echo", [byte])).toBe(byte);
      answered += 1;
    }
    await expect.poll(() => framesOf(Buffer.concat(answers)).at(-1)?.body).toBe('{"value":"slow"}');
    expect(answered).toBeGreaterThan(100);
    peer.close();
  });

  test("a million tiny frames are handled beside everybody else's", async () => {
    const { peer, socket } = await openAgainstBytes({ methods });
    let isAnswered = false;
    socket.on("data", (chunk: Buffer) => {
      isAnswered ||= chunk.includes("after");
    });
    const ping = Buffer.alloc(16);
    encodeHead("ping", 0, 0, "", 0).copy(ping);
    socket.write(Buffer.alloc(16 * 1_000_000, ping));
    socket.write(call(1, '["after"]'));
    let rounds = 0;
    while (!isAnswered) {
      await honest.call("echo", [rounds]);
      rounds += 1;
    }
    expect(rounds).toBeGreaterThan(100);
    peer.close();
  }, 60_000);

  test.each<[string, Buffer]>([
    ["releases of ids that nobody knows", encodeHead("release", 0, 77, "", 0)],
    ["items taken of calls that nobody made", encodeHead("release", 4, 77, "", 0)],
    ["cancels of calls that nobody made", encodeHead("cancel", 0, 77, "", 0)],
    ["pongs that nobody asked for", encodeHead("pong", 0, 0, "", 0)],
  ])("%s change nothing", async (_name, frame) => {
    const { peer, socket, received } = await openAgainstBytes({ methods });
    socket.write(Buffer.concat([...Array.from({ length: 1000 }, () => frame), call(1, '["fine"]')]));
    await expect.poll(() => framesOf(received()).at(-1)?.body).toBe('{"value":"fine"}');
    peer.close();
  });
});

describe("texts", () => {
  const deep = (open: string, close: string, times: number) => open.repeat(times) + close.repeat(times);
  test.each<[string, Buffer]>([
    ["arrays a million deep", call(1, deep("[", "]", 1_000_000))],
    ["objects a million deep", call(1, `[${deep('{"a":', "}", 1_000_000).replace(":}", ":1}")}]`)],
    ["tuples 65 deep", call(1, `[${'{"$tuple":['.repeat(40)}${"]}".repeat(40)}]`)],
    ["brackets that never close", raw(`{"method":"echo","args":${"[".repeat(1_000_000)}`)],
    ["bytes that are no UTF-8", raw(Buffer.from('{"method":"echo","args":["\xff\xfe"]}', "latin1"))],
    ["a character of UTF-8 that is too long", raw(Buffer.from('{"method":"echo","args":["\xc0\xaf"]}', "latin1"))],
    ["a surrogate in UTF-8", raw(Buffer.from('{"method":"echo","args":["\xed\xa0\x80"]}', "latin1"))],
    ["NUL bytes as padding", Buffer.concat([header(32), Buffer.from('{"method":"echo","args":[]}'), Buffer.alloc(5)])],
    ["NaN", call(1, "[NaN]")],
    ["two bodies", raw('{"method":"echo","args":[]}{}')],
    ["an unknown tag", call(1, '[{"$eval":"1"}]')],
    ["a tag that names a class", call(1, '[{"$class":"os.system"}]')],
    ["a reference", call(1, '[{"$ref":1}]')],
    ["__proto__ as a key", call(1, '[{"__proto__":{"polluted":1}}]')],
    ["__proto__ hidden by escapes", call(1, '[{"\\u005f_proto__":{"polluted":1}}]')],
    ["__proto__ in the body", raw('{"method":"echo","args":[],"__proto__":{"timeoutMs":1}}')],
  ])("%s", async (_name, bytes) => {
    await expectViolation(bytes);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  test("a million keys are a value like any other", async () => {
    const { peer, socket, received } = await openAgainstBytes({
      methods: { count: ([value]) => Object.keys(value as object).length },
    });
    const keys = Array.from({ length: 1_000_000 }, (_, index) => `"k${index}":1`).join(",");
    socket.write(call(1, `[{${keys}}]`, "count"));
    await expect.poll(() => framesOf(received()).at(-1)?.body, { timeout: 20_000 }).toBe('{"value":1000000}');
    peer.close();
  }, 30_000);

  test("of two equal keys the last counts", async () => {
    const { peer, socket, received } = await openAgainstBytes({ methods });
    socket.write(raw('{"method":"none","args":[],"args":[{"a":1,"b":2,"a":3}],"method":"echo"}'));
    await expect.poll(() => framesOf(received()).at(-1)?.body).toBe('{"value":{"a":3,"b":2}}');
    peer.close();
  });

  test.each(["constructor", "__proto__", "toString", "hasOwnProperty", "", "echo "])(
    "a method that is not offered: %j",
    async (method) => {
      const { peer, socket, received } = await openAgainstBytes({ methods });
      socket.write(Buffer.concat([call(1, "[]", method), call(2, '["fine"]')]));
      await expect.poll(() => framesOf(received()).length).toBe(3);
      const [, first, second] = framesOf(received());
      expect(JSON.parse(first?.body ?? "")).toMatchObject({ code: "METHOD_UNKNOWN" });
      expect(second?.body).toBe('{"value":"fine"}');
      peer.close();
    },
  );

  test("an error text of 100 MB is cut by its sender", async () => {
    const text = "x".repeat(100 * MiB);
    const { near } = await openPeers(
      {},
      {
        methods: {
          error: () => {
            throw new Error(text);
          },
          text: () => {
            throw text;
          },
        },
      },
    );
    for (const method of ["error", "text"]) {
      const { details } = await errorOf(near.call(method, []));
      expect(details.remote?.message.length).toBeLessThanOrEqual(65_536);
    }
    near.close();
  });

  test("an error text as long as a frame can hold it is only text", async () => {
    const { peer, socket } = await openAgainstBytes();
    const failed = errorOf(peer.call("m", []));
    const message = "x".repeat(15 * MiB);
    socket.write(encodeHead("error", 3, 1, JSON.stringify({ type: "E", message, args: [], traceback: "" }), 0));
    expect((await failed).details.remote?.message.length).toBe(15 * MiB);
    peer.close();
  });
});

describe("calls and answers", () => {
  const result = (id: number) => encodeHead("result", 3, id, '{"value":1}', 0);
  test.each<[string, Buffer[], number]>([
    ["an answer to a call nobody made", [result(5)], 0],
    ["an answer to a call of its own", [call(5), result(5)], 0],
    ["two answers", [result(1), result(1)], 1],
    [
      "an answer and then an error",
      [result(1), encodeHead("error", 3, 1, '{"type":"E","message":"","args":[],"traceback":""}', 0)],
      1,
    ],
    ["an event after the answer", [result(1), encodeHead("event", 1, 1, '{"event":"log","data":1}', 0)], 1],
    ["a call with the id of one that runs", [call(1, "[]", "hang"), call(1)], 0],
    ["more calls than are accepted", Array.from({ length: 65 }, (_, index) => call(index + 1, "[]", "hang")), 0],
    ["items taken that were not sent", [call(1, "[]", "hang"), encodeHead("release", 4, 1, "", 0)], 0],
    ["a segment for a host", [encodeHead("attach", 0, 1, '{"nbytes":4096,"writable":true}', 0)], 0],
    ["stop to a host", [encodeHead("stop", 0, 0, "", 0)], 0],
    ["dial", [header(16, 0, KINDS.dial.number, 0, 0), Buffer.from("{}".padEnd(16))], 0],
    ["a second hello", [hello()], 0],
  ])("%s", async (_name, frames, ours) => {
    const hang = () => new Promise<Value>(() => {});
    await expectViolation(frames, { methods: { ...methods, hang }, features: ["segments"] }, ours);
  });

  test("calls that call each other without end stop where calls are accepted, and end with the connection", async () => {
    let depth = 0;
    const bounce = (peer: () => Peer) => () => {
      depth += 1;
      return peer().call("bounce", []);
    };
    const pair: { near: Peer; far: Peer } = await openPeers(
      { methods: { bounce: bounce(() => pair.near) } },
      { methods: { bounce: bounce(() => pair.far) } },
    );
    await expect(pair.near.call("bounce", [], { timeoutMs: 300 })).rejects.toMatchObject({ code: "CALL_TIMEOUT" });
    expect(depth).toBe(128);
    pair.near.close();
    expect((await pair.far.closed)?.code).toMatch(/^PEER_/);
  });

  test("items of a stream that its consumer does not take", async () => {
    const { peer, socket } = await openAgainstBytes();
    const stream = peer.callStream("m", []);
    const first = stream.next();
    const item = encodeHead("result", 1, 1, '{"value":1}', 0);
    socket.write(Buffer.concat(Array.from({ length: 17 }, () => item)));
    expect(await first).toEqual({ done: false, value: 1 });
    socket.write(item);
    expect(await peer.closed).toMatchObject({ code: "PROTOCOL_VIOLATION" });
  });

  test("a call before hello, and nothing but silence before it", async () => {
    const [mine, theirs] = await openSockets();
    const { Peer } = await import("../../src/rpc/peer.ts");
    const { SocketTransport } = await import("../../src/rpc/transport.ts");
    const peer = new Peer({ transport: new SocketTransport(mine), methods });
    theirs.write(call(1));
    expect(await peer.closed).toMatchObject({ code: "PROTOCOL_VIOLATION" });
  });

  test("releasing a lease twice, and one that was never given, ends nothing twice", async () => {
    let ended = 0;
    const extension = {
      encode: (_value: object, sink: { lease(onEnd: () => void): number }) => ({
        tag: "$thing",
        payload: sink.lease(() => {
          ended += 1;
        }),
      }),
      decode: () => undefined,
    };
    const { peer, socket, received } = await openAgainstBytes({ methods, extension });
    peer.call("m", [new (class Thing {})() as never]).catch(() => {});
    await expect.poll(() => framesOf(received()).length).toBe(2);
    const lease = Number(/"\$thing":(\d+)/.exec(framesOf(received())[1]?.body ?? "")?.[1]);
    const releases = [lease, lease, lease + 1000, lease].map((id) => encodeHead("release", 0, id, "", 0));
    socket.write(Buffer.concat([...releases, call(1, '["fine"]')]));
    await expect.poll(() => framesOf(received()).at(-1)?.body).toBe('{"value":"fine"}');
    expect(ended).toBe(1);
    peer.close();
  });
});

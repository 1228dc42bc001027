// Two Peers over a real Unix socket in one process, and a Peer against bytes nobody should send.

import { describe, expect, test } from "vitest";
import type { PyisolateError } from "../../src/errors.ts";
import { encodeHead } from "../../src/rpc/frame.ts";
import { KINDS, PACE } from "../../src/rpc/kinds.ts";
import { type CallContext, type Method, Peer } from "../../src/rpc/peer.ts";
import { SocketTransport, type Transport, type TransportHandlers } from "../../src/rpc/transport.ts";
import type { Value } from "../../src/rpc/values.ts";
import { inlineTensors } from "../../src/tensor/inline.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { deferred, errorOf, hello, useSockets } from "./rpc-support.ts";

const { openSockets, openPeers, openAgainstBytes } = useSockets();

const echo: Method = ([value]) => value ?? null;
const code = (expected: string) => expect.objectContaining({ code: expected });

describe("calls", () => {
  test("go both ways, nested in each other", async () => {
    const down =
      (other: () => Peer): Method =>
      async ([depth]) =>
        depth === 0 ? [0] : [depth as number, ...((await other().call("down", [(depth as number) - 1])) as Value[])];
    const peers: { near: Peer; far: Peer } = await openPeers(
      { methods: { down: down(() => peers.near) } },
      { methods: { down: down(() => peers.far) } },
    );
    expect(await peers.near.call("down", [9])).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
  });

  test("1000 in flight, answered out of order, never more than the other side accepts", async () => {
    let running = 0;
    let most = 0;
    const wait: Method = async ([turns]) => {
      running += 1;
      most = Math.max(most, running);
      for (let turn = 0; turn < (turns as number); turn += 1) await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return turns ?? null;
    };
    const { near } = await openPeers({}, { methods: { wait }, limits: { calls: 32 } });
    const wanted = Array.from({ length: 1000 }, (_, index) => (index * 7) % 11);
    expect(await Promise.all(wanted.map((turns) => near.call("wait", [turns])))).toEqual(wanted);
    expect(most).toBe(32);
  });

  test("are answered without waiting for a slow one", async () => {
    const slow = deferred<Value>();
    const { near } = await openPeers({}, { methods: { slow: () => slow.promise, echo } });
    const first = near.call("slow", []);
    expect(await near.call("echo", [2])).toBe(2);
    slow.resolve(1);
    expect(await first).toBe(1);
  });

  test("may be made before hello has come", async () => {
    const [mine, theirs] = await openSockets();
    const near = new Peer({ transport: new SocketTransport(mine) });
    const call = near.call("echo", ["early"]);
    const far = new Peer({ transport: new SocketTransport(theirs), methods: { echo } });
    expect(await call).toBe("early");
    await far.ready;
  });

  test("carry bytes beyond one frame, while small calls pass", async () => {
    const { near } = await openPeers({}, { methods: { echo } });
    const big = new Uint8Array(21 * 2 ** 20 + 5).map((_, index) => index % 251);
    const order: string[] = [];
    const [back] = await Promise.all([
      near.call("echo", [[big, new Uint8Array(3)]]).finally(() => order.push("big")),
      near.call("echo", [1]).finally(() => order.push("small")),
      near.call("echo", [new Uint8Array(5 * 2 ** 20)]).finally(() => order.push("second big")),
    ]);
    const [first, second] = back as [Uint8Array, Uint8Array];
    expect(Buffer.compare(first, big)).toBe(0);
    expect(second).toStrictEqual(new Uint8Array(3));
    expect(order).toEqual(["small", "big", "second big"]);
  });

  test("carry tensors, and say what was copied", async () => {
    const { near } = await openPeers({ extension: inlineTensors }, { extension: inlineTensors, methods: { echo } });
    const image = new Tensor(
      "float32",
      [1, 2, 2, 3],
      new Uint8Array(Float32Array.from({ length: 12 }, (_, i) => i / 2).buffer),
    );
    const transfer = { bytesCopied: 0, routes: [] };
    const back = (await near.call("echo", [{ image }], { transfer })) as { image: Tensor };
    expect(back.image).toStrictEqual(image);
    expect(back.image.data.byteOffset % 64).toBe(0);
    expect(transfer).toEqual({ bytesCopied: 48, routes: ["inline"] });
  });

  test("give events in order, before the result", async () => {
    const method: Method = async (_args, context) => {
      for (const value of [1, 2, 3]) context.event("progress", { value, total: 3 });
      context.event("preview", new Uint8Array(9 * 2 ** 20));
      return "done";
    };
    const { near } = await openPeers({}, { methods: { method } });
    const seen: Value[] = [];
    const result = await near.call("method", [], { onEvent: (name, data) => seen.push([name, data]) });
    expect(result).toBe("done");
    expect(seen.slice(0, 3)).toEqual([1, 2, 3].map((value) => ["progress", { value, total: 3 }]));
    expect((seen[3] as [string, Uint8Array])[1].byteLength).toBe(9 * 2 ** 20);
  });

  test("what a listener raises ends its own call and no other", async () => {
    const method: Method = (_args, { event }) => {
      event("log", "x");
      return 1;
    };
    const { near } = await openPeers({}, { methods: { method, echo } });
    const listener = () => {
      throw new Error("mine");
    };
    await expect(near.call("method", [], { onEvent: listener })).rejects.toThrow("mine");
    expect(await near.call("echo", [1])).toBe(1);
  });

  test("a value that cannot be sent rejects at once; the connection lives", async () => {
    const { near } = await openPeers({}, { methods: { echo, bad: () => new Date() as unknown as Value } });
    await expect(near.call("echo", [new Date() as unknown as Value])).rejects.toEqual(code("VALUE_UNSUPPORTED"));
    await expect(near.call("bad", [])).rejects.toEqual(code("VALUE_UNSUPPORTED"));
    expect(await near.call("echo", [1])).toBe(1);
  });
});

describe("errors of the other side", () => {
  const boom: Method = () => {
    throw new TypeError("bad strength", { cause: new RangeError("inner") });
  };

  test("keep type, message, traceback and cause", async () => {
    const { near } = await openPeers({}, { methods: { boom } });
    const error = await errorOf(near.call("boom", []));
    expect(error).toMatchObject({ code: "REMOTE_ERROR", message: '"boom" raised TypeError: bad strength' });
    expect(error.details.remote).toMatchObject({ type: "TypeError", message: "bad strength" });
    expect(error.details.remote?.traceback).toContain("rpc-peer.test.ts");
    expect((error.cause as PyisolateError).details.remote?.type).toBe("RangeError");
  });

  test("a method that is not offered", async () => {
    const { near } = await openPeers({}, { methods: { boom } });
    expect(await errorOf(near.call("bom", []))).toMatchObject({
      code: "METHOD_UNKNOWN",
      message: 'no method "bom"; there are: boom',
    });
    await expect(near.call("toString", [])).rejects.toEqual(code("METHOD_UNKNOWN"));
  });

  test.each([
    ["NODE_FAILED", "NODE_FAILED"],
    ["FROM_THE_FUTURE", "REMOTE_ERROR"],
    ["PEER_BROKEN", "REMOTE_ERROR"],
    ["PACK_OUT_OF_MEMORY", "REMOTE_ERROR"],
  ])("the code %s from the other side is %s here", async (sent, expected) => {
    const { peer, socket } = await openAgainstBytes();
    const call = peer.call("m", []);
    const text = JSON.stringify({ type: "E", message: "x", args: [], traceback: "", code: sent });
    socket.write(encodeHead("error", 3, 1, text, 0));
    await expect(call).rejects.toEqual(code(expected));
  });
});

describe("cancel and deadline", () => {
  /** A method that ends when its call is cancelled, and says what it saw. */
  function untilAborted() {
    const started = deferred<CallContext>();
    const ended = deferred<void>();
    const method: Method = (_args, context) =>
      new Promise((_resolve, reject) => {
        started.resolve(context);
        context.signal.addEventListener("abort", () => {
          ended.resolve();
          reject(new Error("stopped"));
        });
      });
    return { method, started: started.promise, ended: ended.promise };
  }

  test("a deadline rejects, tells the other side, and the connection lives", async () => {
    const slow = untilAborted();
    const { near } = await openPeers({}, { methods: { slow: slow.method, echo } });
    const error = await errorOf(near.call("slow", [], { timeoutMs: 20 }));
    expect(error).toMatchObject({ code: "CALL_TIMEOUT", message: '"slow" gave no result within 20 ms' });
    await slow.ended;
    expect(await near.call("echo", [1])).toBe(1);
  });

  test("an aborted signal rejects and tells the other side; no listener stays", async () => {
    const slow = untilAborted();
    const { near } = await openPeers({}, { methods: { slow: slow.method, echo } });
    const controller = new AbortController();
    const counts = countListeners(controller.signal);
    for (let index = 0; index < 50; index += 1) await near.call("echo", [index], { signal: controller.signal });
    expect(counts()).toEqual({ added: 50, removed: 50 });
    const call = near.call("slow", [], { signal: controller.signal });
    await slow.started;
    controller.abort(new Error("user"));
    expect((await errorOf(call)).cause).toMatchObject({ message: "user" });
    await slow.ended;
    await expect(near.call("echo", [1], { signal: controller.signal })).rejects.toEqual(code("CALL_CANCELLED"));
  });

  test("a method that stops because of a cancel answers so", async () => {
    const slow = untilAborted();
    const { socket, received } = await openAgainstBytes({ methods: { slow: slow.method } });
    socket.write(encodeHead("call", 0, 9, '{"method":"slow","args":[]}', 0));
    await slow.started;
    socket.write(encodeHead("cancel", 0, 9, "", 0));
    await expect.poll(() => received().toString()).toContain('"type":"Cancelled"');
    expect(received().toString()).toContain('"code":"CALL_CANCELLED"');
  });

  test("an answer that comes after the deadline frees the id and hurts nobody", async () => {
    const { peer, socket } = await openAgainstBytes();
    const onEvent = () => expect.unreachable("an event after the end");
    const late = await errorOf(peer.call("m", [], { timeoutMs: 5, onEvent }));
    expect(late.code).toBe("CALL_TIMEOUT");
    socket.write(encodeHead("event", 1, 1, '{"event":"log","data":1}', 0));
    socket.write(encodeHead("result", 3, 1, '{"value":"late"}', 0));
    const next = peer.call("m", []);
    socket.write(encodeHead("result", 3, 2, '{"value":"next"}', 0));
    expect(await next).toBe("next");
  });

  test("the other side is told what remains of the deadline, then that it is over", async () => {
    const { peer, received } = await openAgainstBytes();
    await errorOf(peer.call("m", [], { timeoutMs: 50 }));
    await expect.poll(() => received().at(-8)).toBe(KINDS.cancel.number);
    const told = Number(/"timeoutMs":(\d+)/.exec(received().toString())?.[1]);
    expect(told).toBeLessThanOrEqual(50);
  });

  test("a deadline longer than a timer can run is no deadline here", async () => {
    const { near } = await openPeers({}, { methods: { echo } });
    expect(await near.call("echo", [1], { timeoutMs: 1e12 })).toBe(1);
  });
});

/** Counts what is added to and removed from a signal. */
function countListeners(signal: AbortSignal): () => { added: number; removed: number } {
  let added = 0;
  let removed = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...parameters: Parameters<typeof add>) => {
    added += 1;
    add(...parameters);
  };
  signal.removeEventListener = (...parameters: Parameters<typeof remove>) => {
    removed += 1;
    remove(...parameters);
  };
  return () => ({ added, removed });
}

describe("the end of a connection", () => {
  test("close() rejects calls as closed here, as broken there; both ends settle", async () => {
    const aborted = deferred<void>();
    const hang: Method = (_args, { signal }) => {
      signal.addEventListener("abort", () => aborted.resolve());
      return new Promise(() => {});
    };
    const { near, far } = await openPeers({ methods: { hang } }, { methods: { hang } });
    const calls = [near.call("hang", []), far.call("hang", [])] as const;
    await new Promise((resolve) => setImmediate(resolve));
    near.close();
    await expect(calls[0]).rejects.toEqual(code("PEER_CLOSED"));
    await expect(calls[1]).rejects.toEqual(code("PEER_BROKEN"));
    expect(await near.closed).toBeUndefined();
    expect(await far.closed).toEqual(code("PEER_BROKEN"));
    await aborted.promise;
    await expect(near.call("hang", [])).rejects.toEqual(code("PEER_CLOSED"));
    await expect(far.call("hang", [])).rejects.toEqual(code("PEER_BROKEN"));
  });

  test("an idle end from the other side is clean", async () => {
    const { near, far } = await openPeers();
    far.close();
    expect(await near.closed).toBeUndefined();
    await expect(near.call("m", [])).rejects.toEqual(code("PEER_BROKEN"));
  });

  test("an end in the middle of a frame is broken, and said so", async () => {
    const { peer, socket } = await openAgainstBytes();
    socket.end(encodeHead("call", 0, 1, '{"method":"m","args":[]}', 0).subarray(0, 20));
    expect(await peer.closed).toMatchObject({
      code: "PEER_BROKEN",
      message: expect.stringContaining("middle of a frame"),
    });
  });

  test("a torn connection rejects every call, also those that wait for credits", async () => {
    const [mine, theirs] = await openSockets();
    const peer = new Peer({ transport: new SocketTransport(mine) });
    theirs.write(hello({ calls: 1 }));
    await peer.ready;
    const calls = Array.from({ length: 5 }, () => errorOf(peer.call("m", [])));
    theirs.destroy();
    expect((await Promise.all(calls)).map((error) => error.code)).toEqual(Array(5).fill("PEER_BROKEN"));
  });

  test("an end before hello rejects ready", async () => {
    const [mine, theirs] = await openSockets();
    const peer = new Peer({ transport: new SocketTransport(mine) });
    theirs.end();
    await expect(peer.ready).rejects.toEqual(code("PEER_BROKEN"));
  });

  test("a version nobody speaks here", async () => {
    const [mine, theirs] = await openSockets();
    const peer = new Peer({ transport: new SocketTransport(mine) });
    const call = errorOf(peer.call("m", []));
    const text = '{"protocol":[7,9],"features":[],"limits":{"calls":1,"messageBytes":0}}';
    theirs.write(encodeHead("hello", 0, 0, text, 0));
    expect(await errorOf(peer.ready)).toMatchObject({
      code: "PROTOCOL_MISMATCH",
      message: "peer speaks protocol versions 7 to 9, this side 1 to 1",
    });
    expect(await call).toEqual(code("PROTOCOL_MISMATCH"));
  });

  test("a violation ends the connection for both, and everything waiting is told", async () => {
    const { peer, socket } = await openAgainstBytes();
    const call = errorOf(peer.call("m", []));
    const ended = new Promise((resolve) => socket.once("close", resolve));
    socket.write(Buffer.alloc(16));
    expect((await call).message).toBe("peer broke the protocol: unknown frame kind 0");
    expect(await peer.closed).toEqual(code("PROTOCOL_VIOLATION"));
    await ended;
  });

  test("what was sent before close() still arrives", async () => {
    const { near, wires } = await openPeers({}, { onStop: () => {} });
    const chunks: Buffer[] = [];
    wires[1].on("data", (chunk) => chunks.push(chunk));
    near.stop();
    near.close();
    await expect.poll(() => Buffer.concat(chunks)[8]).toBe(12);
  });
});

test("stop reaches a worker, and is a violation to anyone else", async () => {
  const stopped = deferred<void>();
  const first = await openPeers({}, { onStop: () => stopped.resolve() });
  first.near.stop();
  await stopped.promise;
  const second = await openPeers();
  second.near.stop();
  expect(await second.far.closed).toEqual(code("PROTOCOL_VIOLATION"));
});

describe("flow", () => {
  test("a flood of frames leaves turns of the event loop to others", async () => {
    const { socket, received } = await openAgainstBytes();
    const count = 3000;
    socket.write(Buffer.concat(Array.from({ length: count }, () => encodeHead("ping", 0, 0, "", 0))));
    let turns = 0;
    const frames = () => received().byteLength / 16;
    while (frames() < count) {
      turns += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(turns).toBeGreaterThan(count / PACE.turnFrames / 2);
  });

  test("what came before the end is handled before the end, however much it is", async () => {
    let handlers: TransportHandlers | undefined;
    const transport: Transport = {
      start: (given) => {
        handlers = given;
      },
      send: () => {},
      queuedBytes: 0,
      isFull: false,
      pause: () => {},
      resume: () => {},
      close: () => {},
      destroy: () => {},
    };
    const peer = new Peer({ transport });
    const calls = Array.from({ length: 200 }, () => peer.call("m", []));
    handlers?.onData(hello({ calls: 1000 }));
    const results = calls.map((_, index) => encodeHead("result", 3, index + 1, `{"value":${index}}`, 0));
    handlers?.onData(Buffer.concat(results));
    handlers?.onEnd();
    expect(await Promise.all(calls)).toEqual(calls.map((_, index) => index));
    expect(await peer.closed).toBeUndefined();
  });

  test("a peer that does not read makes calls wait, holding no more than the limit", async () => {
    const [mine, theirs] = await openSockets();
    theirs.on("error", () => {});
    const peer = new Peer({ transport: new SocketTransport(mine) });
    theirs.write(hello({ calls: 1000 }));
    await peer.ready;
    theirs.pause();
    const calls = Array.from({ length: 20 }, () => errorOf(peer.call("m", [new Uint8Array(4 * 2 ** 20)])));
    await new Promise((resolve) => setImmediate(resolve));
    expect(mine.writableLength).toBeLessThanOrEqual(PACE.outboundBytes + 5 * 2 ** 20);
    let bytes = 0;
    theirs.on("data", (chunk) => {
      bytes += chunk.byteLength;
    });
    theirs.resume();
    await expect.poll(() => bytes, { timeout: 10_000 }).toBeGreaterThan(20 * 4 * 2 ** 20);
    peer.close();
    await Promise.all(calls);
  });

  test("a peer that pings and does not read is owed one pong", async () => {
    const { peer, socket, received } = await openAgainstBytes();
    socket.pause();
    const calls = Array.from({ length: 9 }, () => errorOf(peer.call("m", [new Uint8Array(4 * 2 ** 20)])));
    socket.write(Buffer.concat(Array.from({ length: 500 }, () => encodeHead("ping", 0, 0, "", 0))));
    const probe = encodeHead("call", 0, 1, '{"method":"none","args":[]}', 0);
    for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    socket.resume();
    socket.write(probe);
    await expect.poll(() => received().includes("METHOD_UNKNOWN"), { timeout: 10_000 }).toBe(true);
    const pongs =
      received()
        .toString("latin1")
        .split(encodeHead("pong", 0, 0, "", 0).toString("latin1")).length - 1;
    expect(pongs).toBe(1);
    peer.close();
    await Promise.all(calls);
  });
});

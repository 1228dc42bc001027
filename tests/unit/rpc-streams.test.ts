// Streams: items in order, credits that let a slow consumer stop its producer and nobody else, and how they end.

import { expect, test } from "vitest";
import type { Value } from "../../src/rpc/values.ts";
import { deferred, errorOf, useSockets } from "./rpc-support.ts";

const { openPeers } = useSockets();

async function* count([to]: Value[]): AsyncGenerator<Value, Value> {
  for (let value = 1; value <= (to as number); value += 1) yield value;
  return "end";
}

async function collect(stream: AsyncIterator<Value, Value>): Promise<[Value[], Value]> {
  const items: Value[] = [];
  for (;;) {
    const { done, value } = await stream.next();
    if (done === true) return [items, value];
    items.push(value);
  }
}

test("gives its items in order, then what the method returns", async () => {
  const { near } = await openPeers({}, { methods: { count } });
  const [items, last] = await collect(near.callStream("count", [1000]));
  expect([items, last]).toEqual([Array.from({ length: 1000 }, (_, index) => index + 1), "end"]);
  expect(await collect(near.callStream("count", [0]))).toEqual([[], "end"]);
});

test("carries bytes beyond one frame", async () => {
  async function* parts(): AsyncGenerator<Value> {
    for (const size of [1, 5 * 2 ** 20, 0]) yield new Uint8Array(size).fill(size % 251);
  }
  const { near } = await openPeers({}, { methods: { parts } });
  const sizes: number[] = [];
  for await (const part of near.callStream("parts", [])) sizes.push((part as Uint8Array).byteLength);
  expect(sizes).toEqual([1, 5 * 2 ** 20, 0]);
});

test("a slow consumer stops the producer at the items it accepts, and delays no other call", async () => {
  let made = 0;
  async function* endless(): AsyncGenerator<Value> {
    for (;;) {
      made += 1;
      yield made;
    }
  }
  const { near } = await openPeers(
    { limits: { items: 5 } },
    { methods: { endless, echo: ([value]) => value ?? null } },
  );
  const stream = near.callStream("endless", []);
  expect(made).toBe(0);
  await stream.next();
  for (let round = 0; round < 20; round += 1) expect(await near.call("echo", [round])).toBe(round);
  expect(made).toBe(6);
  await stream.next();
  for (let round = 0; round < 20; round += 1) await near.call("echo", [round]);
  expect(made).toBe(7);
  await stream.return?.();
});

test("leaving the loop cancels the call, and the producer's own end runs", async () => {
  const ended = deferred<string>();
  async function* endless(): AsyncGenerator<Value> {
    try {
      for (;;) yield 1;
    } finally {
      ended.resolve("ended");
    }
  }
  const { near, far } = await openPeers({}, { methods: { endless, echo: () => null } });
  for await (const _ of near.callStream("endless", [])) break;
  expect(await ended.promise).toBe("ended");
  await near.call("echo", []);
  near.close();
  expect(await far.closed).toBeUndefined(); // the call has ended on both sides
});

test("what the method raises comes after the items before it; then the stream is over", async () => {
  async function* failing(): AsyncGenerator<Value> {
    yield 1;
    yield 2;
    throw new RangeError("three");
  }
  const { near } = await openPeers({}, { methods: { failing } });
  const stream = near.callStream("failing", []);
  expect([await stream.next(), await stream.next()]).toMatchObject([{ value: 1 }, { value: 2 }]);
  expect(await errorOf(stream.next())).toMatchObject({
    code: "REMOTE_ERROR",
    message: expect.stringContaining("three"),
  });
  expect(await stream.next()).toEqual({ done: true, value: null });
});

test("an item that has no wire form ends the stream with that error", async () => {
  async function* bad(): AsyncGenerator<Value> {
    yield 1;
    yield (() => 0) as unknown as Value;
  }
  const { near } = await openPeers({}, { methods: { bad } });
  expect(await errorOf(collect(near.callStream("bad", [])))).toMatchObject({ code: "VALUE_UNSUPPORTED" });
  expect(await errorOf(near.call("nothing", []))).toMatchObject({ code: "METHOD_UNKNOWN" });
});

test("an ordinary call of a stream drops the items and gets the last value", async () => {
  const { near } = await openPeers({ limits: { items: 2 } }, { methods: { count } });
  expect(await near.call("count", [100])).toBe("end");
});

test("a caller that accepts no items is told so", async () => {
  const { near } = await openPeers({ limits: { items: 0 } }, { methods: { count } });
  expect(await errorOf(near.call("count", [3]))).toMatchObject({ code: "VALUE_UNSUPPORTED" });
});

test("a stream of an ordinary method has no items", async () => {
  const { near } = await openPeers({}, { methods: { echo: ([value]) => value ?? null } });
  expect(await collect(near.callStream("echo", [7]))).toEqual([[], 7]);
});

test("a deadline, a signal and the end of the connection end it, also while it waits", async () => {
  async function* silent(_args: Value[], { signal }: { signal: AbortSignal }): AsyncGenerator<Value> {
    yield 1;
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  }
  const { near } = await openPeers({}, { methods: { silent } });
  expect((await errorOf(collect(near.callStream("silent", [], { timeoutMs: 30 })))).code).toBe("CALL_TIMEOUT");
  const controller = new AbortController();
  const aborted = errorOf(collect(near.callStream("silent", [], { signal: controller.signal })));
  controller.abort();
  expect((await aborted).code).toBe("CALL_CANCELLED");
  const stream = near.callStream("silent", []);
  await stream.next();
  const last = errorOf(stream.next());
  near.close();
  expect((await last).code).toBe("PEER_CLOSED");
  expect((await errorOf(near.callStream("silent", []).next())).code).toBe("PEER_CLOSED");
});

test("several may ask at a time; each item goes to one of them, in order", async () => {
  const { near } = await openPeers({ limits: { items: 1 } }, { methods: { count } });
  const stream = near.callStream("count", [3]);
  const results = await Promise.all([1, 2, 3, 4, 5].map(() => stream.next()));
  expect(results.map(({ value }) => value)).toEqual([1, 2, 3, "end", null]);
});

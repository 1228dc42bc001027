// Flow: what one side may cost the other. Calls nobody ends, sides that do not read, signals with many calls.

import { getEventListeners } from "node:events";
import { describe, expect, test, vi } from "vitest";
import { encodeHead } from "../../src/rpc/frame.ts";
import { PACE } from "../../src/rpc/kinds.ts";
import type { Method } from "../../src/rpc/peer.ts";
import type { Value } from "../../src/rpc/values.ts";
import { deferred, errorOf, framesOf, useSockets } from "./rpc-support.ts";

const { openPeers, openAgainstBytes } = useSockets();

describe("a call that goes on although nobody wants it", () => {
  test("is reported once, whether its time was up or it was cancelled", async () => {
    const stuck: [string, number][] = [];
    const wait = deferred<Value>();
    const methods = { hang: () => wait.promise, echo: ([value]: Value[]) => value ?? null };
    const options = (name: string) => ({ onStuck: (ms: number) => void stuck.push([name, ms]) });
    const { near } = await openPeers({ stuckMs: 30 }, { methods });
    const controller = new AbortController();
    const calls = [
      errorOf(near.call("hang", [], { timeoutMs: 1, ...options("first") })),
      errorOf(near.call("hang", [], { signal: controller.signal, ...options("second") })),
    ];
    controller.abort();
    await Promise.all(calls);
    expect(stuck).toEqual([]);
    await expect
      .poll(() => [...stuck].sort())
      .toEqual([
        ["first", 30],
        ["second", 30],
      ]);
    const later = errorOf(near.call("hang", [], { timeoutMs: 1, ...options("later") }));
    expect((await later).code).toBe("CALL_TIMEOUT");
    await expect.poll(() => stuck.length).toBe(3);
    wait.resolve(0);
    expect(await near.call("echo", [1])).toBe(1);
  });

  test("is not reported when it ends in time, or was never sent, or the connection ends", async () => {
    let stuckCount = 0;
    const methods = {
      stop: ((_args, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)))) as Method,
    };
    const onStuck = () => {
      stuckCount += 1;
    };
    const { near } = await openPeers({ stuckMs: 300 }, { methods, limits: { calls: 1 } });
    const first = errorOf(near.call("stop", [], { timeoutMs: 40, onStuck }));
    const waiting = errorOf(near.call("stop", [], { timeoutMs: 1, onStuck }));
    await Promise.all([first, waiting]);
    const last = errorOf(near.call("stop", [], { timeoutMs: 1, onStuck }));
    await last;
    near.close();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(stuckCount).toBe(0);
  });
});

test("many calls on one signal hang on one listener, and all of them are cancelled", async () => {
  const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
  const wait = deferred<Value>();
  const { near } = await openPeers({}, { methods: { hang: () => wait.promise, echo: ([value]) => value ?? null } });
  const controller = new AbortController();
  const { signal } = controller;
  await Promise.all(Array.from({ length: 40 }, () => near.call("echo", [1], { signal })));
  expect(getEventListeners(signal, "abort")).toEqual([]);
  const calls = Array.from({ length: 40 }, () => errorOf(near.call("hang", [], { signal })));
  expect(getEventListeners(signal, "abort").length).toBe(1);
  controller.abort("enough");
  const errors = await Promise.all(calls);
  expect(errors.map(({ code, cause }) => [code, cause])).toEqual(errors.map(() => ["CALL_CANCELLED", "enough"]));
  expect(getEventListeners(signal, "abort")).toEqual([]);
  expect(warned).not.toHaveBeenCalled();
  warned.mockRestore();
});

describe("a side that does not read", () => {
  const call = (id: number, method = "big") => encodeHead("call", 0, id, `{"method":"${method}","args":[]}`, 0);

  test("gets no more work done than fills the way out, and all of it when it reads again", async () => {
    let runs = 0;
    const big = () => {
      runs += 1;
      return new Uint8Array(2 ** 22);
    };
    const { peer, socket, received } = await openAgainstBytes({ methods: { big } });
    socket.pause();
    const calls = (from: number, to: number) =>
      Buffer.concat(Array.from({ length: to - from }, (_, index) => call(from + index)));
    socket.write(calls(1, 21));
    await expect.poll(() => runs).toBe(20); // 80 MiB
    socket.write(calls(21, 41));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(runs).toBe(20);
    socket.write(encodeHead("cancel", 0, 40, "", 0)); // one that waits
    socket.resume();
    await expect.poll(() => framesOf(received()).length, { timeout: 20_000 }).toBe(41);
    expect(runs).toBe(39);
    peer.close();
  });

  test("breaks the protocol when it sends calls without end", async () => {
    const { peer, socket } = await openAgainstBytes({ methods: { big: () => new Uint8Array(2 ** 22) } });
    socket.pause();
    socket.write(Buffer.concat(Array.from({ length: 1000 }, (_, index) => call(index + 1))));
    expect(await peer.closed).toMatchObject({
      code: "PROTOCOL_VIOLATION",
      message: expect.stringContaining("64 calls"),
    });
  });

  test("misses events, not its answer, and delays no other side", async () => {
    const chatty: Method = async (_args, { event }) => {
      for (let count = 0; count < 1000; count += 1) event("log", "x".repeat(2 ** 17));
      return "done";
    };
    const other = await openPeers({}, { methods: { echo: ([value]) => value ?? null } });
    const { peer, socket, received } = await openAgainstBytes({ methods: { chatty } });
    socket.pause();
    socket.write(call(1, "chatty"));
    for (let round = 0; round < 50; round += 1) expect(await other.near.call("echo", [round])).toBe(round);
    socket.resume();
    await expect.poll(() => framesOf(received()).at(-1)?.body, { timeout: 20_000 }).toBe('{"value":"done"}');
    expect(framesOf(received()).length).toBeLessThan(2 + PACE.outboundBytes / 2 ** 17 + 10);
    peer.close();
  });
});

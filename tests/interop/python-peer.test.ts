// Our Peer against the Python one, over a real socket: two implementations of docs/protocol.md that never saw each other's code.

import { afterAll, beforeAll, expect, test } from "vitest";
import type { PyisolateError } from "../../src/errors.ts";
import { Peer } from "../../src/rpc/peer.ts";
import { SocketTransport } from "../../src/rpc/transport.ts";
import { Tuple, type Value } from "../../src/rpc/values.ts";
import { inlineTensors } from "../../src/tensor/inline.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { evaluate, values } from "../wire/golden.ts";
import { type PythonProcess, startPython } from "./python.ts";

let python: PythonProcess;
let peer: Peer;

async function open(): Promise<[PythonProcess, Peer]> {
  const process = await startPython("peer.py");
  const methods = {
    add: ([left, right]: Value[]) => (left as number) + (right as number),
    down: async ([depth]: Value[]): Promise<Value> =>
      depth === 0 ? 0 : await peer.call("callback", ["down", (depth as number) - 1]),
    refuse: () => {
      throw new RangeError("not today");
    },
  };
  const transport = new SocketTransport(process.socket);
  return [process, new Peer({ transport, methods, extension: inlineTensors, isLossless: true })];
}

beforeAll(async () => {
  [python, peer] = await open();
  await peer.ready;
});

afterAll(async () => {
  peer.close();
  await python.stop();
});

const golden = [...values.values, ...values.tensors];

test.each(golden)(
  "survives both ways, and Python holds it for the same: $name",
  async ({ typescript, python: expression }) => {
    const value = evaluate(typescript);
    expect(await peer.call("check", [value, expression])).toBe(true);
    expect(await peer.call("echo", [value])).toStrictEqual(value);
  },
);

test("all golden values in one message", async () => {
  const all = new Tuple(golden.map(({ typescript }) => evaluate(typescript)));
  expect(await peer.call("echo", [all])).toStrictEqual(all);
});

test("an image beyond one frame comes back the same", async () => {
  const data = new Uint8Array(1024 * 1024 * 3 * 4);
  for (let at = 0; at < data.length; at += 1) data[at] = at % 253;
  const back = (await peer.call("echo", [new Tensor("float32", [1, 1024, 1024, 3], data)])) as Tensor;
  expect(back.shape).toEqual([1, 1024, 1024, 3]);
  expect(Buffer.compare(back.data, data)).toBe(0);
});

test("an exception keeps type, message, traceback and cause", async () => {
  const error: PyisolateError = await peer.call("fail", ["bad"]).then(
    () => expect.unreachable(),
    (reason) => reason,
  );
  expect(error).toMatchObject({ code: "REMOTE_ERROR", message: '"fail" raised ValueError: bad' });
  expect(error.details.remote?.traceback).toMatch(/peer\.py", line \d+, in fail/);
  expect(error.details.remote?.args).toEqual(["bad"]);
  const cause = (error.cause as PyisolateError).details.remote;
  expect([cause?.type, cause?.args]).toEqual(["KeyError", ["inner", 2n ** 64n, new Tuple([1, "b"])]]);
});

test("a method that Python does not offer", async () => {
  await expect(peer.call("nothing", [])).rejects.toMatchObject({ code: "METHOD_UNKNOWN" });
});

test("events arrive in order, before the result", async () => {
  const seen: Value[] = [];
  expect(await peer.call("steps", [20], { onEvent: (name, data) => seen.push([name, data]) })).toBe(20);
  expect(seen).toEqual(Array.from({ length: 20 }, (_, index) => ["progress", { value: index + 1, total: 20 }]));
});

test.each(["callback", "callback_async"])("Python calls back from within a call: %s", async (method) => {
  expect(await peer.call(method, ["add", 2, 3])).toBe(5);
});

test("calls nest in both directions", async () => {
  expect(await peer.call("callback", ["down", 10])).toBe(0);
});

test("an error of TypeScript arrives in Python", async () => {
  expect(await peer.call("callback_error", ["refuse"])).toMatchObject({
    type: "PyisolateError",
    code: "REMOTE_ERROR",
    message: expect.stringContaining("RangeError: not today"),
  });
  expect(await peer.call("callback_error", ["unknown"])).toMatchObject({ code: "METHOD_UNKNOWN" });
});

test.each(["wait", "wait_async"])("a cancel reaches Python: %s", async (method) => {
  const controller = new AbortController();
  const call = peer.call(method, [], { signal: controller.signal, onEvent: () => controller.abort() });
  await expect(call).rejects.toMatchObject({ code: "CALL_CANCELLED" });
  expect(await peer.call("was_cancelled", [])).toBe(true);
});

test("the end of a deadline reaches Python", async () => {
  await expect(peer.call("wait", [], { timeoutMs: 30 })).rejects.toMatchObject({ code: "CALL_TIMEOUT" });
  expect(await peer.call("was_cancelled", [])).toBe(true);
});

test("500 calls in flight, beyond what Python accepts at a time", async () => {
  const wanted = Array.from({ length: 500 }, (_, index) => index);
  expect(await Promise.all(wanted.map((index) => peer.call("echo", [index])))).toEqual(wanted);
});

test("a process that dies in the middle of a call is told at once", async () => {
  const [dying, other] = await open();
  await expect(other.call("crash", [])).rejects.toMatchObject({ code: "PEER_BROKEN" });
  expect(await dying.exited).toBe(3);
  await dying.stop();
});

test("stop ends the process with status 0", async () => {
  const [stopped, other] = await open();
  await other.ready;
  other.stop();
  expect(await stopped.exited).toBe(0);
  expect(await other.closed).toBeUndefined();
  await stopped.stop();
});

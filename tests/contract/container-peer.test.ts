// Whose connection is taken for the worker's: that of the container's own user.

import type { Socket } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { ContainerSpec } from "../../src/engine/engine.ts";
import { descriptorOf, loadNative, type Native } from "../../src/tensor/native.ts";
import { type Bench, openBench, runCode } from "./container-support.ts";

let bench: Bench;
let peerUid: (connection: Socket) => number;
beforeAll(async () => {
  bench = await openBench();
  const native = (await loadNative()) as Native;
  peerUid = (connection) => native.peerUid(descriptorOf(connection) as number);
});
afterEach(async () => expect(await bench.leftovers()).toEqual([]));
afterAll(() => bench.close());

/** The process in the container is another user than the one that was asked for. */
const asAnotherUser = (spec: ContainerSpec) => ({ ...spec, user: "54321:54321" });

test("the container's user is taken", async () => {
  await using container = await bench.start({}, { peerUid });
  expect(await runCode(container.connection, "import os\nresult = os.getuid()")).toBe(peerUid(container.connection));
});

test("another user's connection is closed, and nothing is left", async () => {
  const start = bench.start({}, { peerUid, alter: asAnotherUser, startupTimeoutMs: 3000 });
  await expect(start).rejects.toMatchObject({ code: expect.stringMatching(/PACK_START_FAILED|PACK_START_TIMEOUT/) });
});

test("control: where the uid cannot be told, only the directories keep others out", async () => {
  await using container = await bench.start({}, { alter: asAnotherUser });
  expect(await runCode(container.connection, "import os\nresult = os.getuid()")).toBe(54321);
});

// Limits on the real engine: what the kernel enforces is what the manifest asked, and it does enforce it.

import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Bench, openBench, runCode } from "./container-support.ts";

const MiB = 1024 * 1024;

let bench: Bench;
beforeAll(async () => {
  bench = await openBench();
});
afterEach(async () => expect(await bench.leftovers()).toEqual([]));
afterAll(() => bench.close());

test("limits read from the kernel equal the manifest's, memory rounded down to a page", async () => {
  await using container = await bench.start({ maxMemoryBytes: 96 * MiB + 1000, maxCpuPercent: 33, maxPids: 40 });
  expect(container.limits).toEqual({ max_memory: 96 * MiB, max_cpu_percent: 33, max_pids: 40 });
});

test("more CPU than this machine has can be asked for", async () => {
  await using container = await bench.start({ maxCpuPercent: 6400 });
  expect(container.limits.max_cpu_percent).toBe(6400);
});

test.each([
  ["max_memory", { memoryBytes: 256 * MiB }],
  ["max_cpu_percent", { cpuPercent: 50 }],
  ["max_pids", { pids: 65 }],
])("an engine that sets another %s is found out", async (name, other) => {
  const start = bench.start({}, { alter: (spec) => ({ ...spec, limits: { ...spec.limits, ...other } }) });
  await expect(start).rejects.toMatchObject({
    code: "LIMIT_NOT_ENFORCED",
    message: expect.stringContaining(`${name} of pack "test_pack"`),
  });
});

test("a pack over max_memory is killed, and the engine says why", async () => {
  await using container = await bench.start({ maxMemoryBytes: 64 * MiB });
  const greedy = runCode(container.connection, "x = bytearray(200 << 20)");
  await expect(greedy).rejects.toThrow("hung up");
  expect(await container.exited).toEqual({ exitCode: 137, oomKilled: true });
});

test("with more memory the same pack lives", async () => {
  await using container = await bench.start({ maxMemoryBytes: 320 * MiB });
  expect(await runCode(container.connection, "result = len(bytearray(200 << 20))")).toBe(200 * MiB);
});

test("a pack over max_memory before it dials in is reported as such", async () => {
  const start = bench.start({ env: { PROBE: "memory" }, maxMemoryBytes: 64 * MiB });
  await expect(start).rejects.toMatchObject({ code: "PACK_OUT_OF_MEMORY", details: { exitCode: 137 } });
});

test("no more than max_pids processes and threads, and the pack goes on", async () => {
  await using container = await bench.start({ maxPids: 20 });
  const fork = `
import threading
stop = threading.Event()
started = 0
try:
    for _ in range(100):
        threading.Thread(target=stop.wait, daemon=True).start()
        started += 1
except RuntimeError:
    pass
stop.set()
result = started
`;
  const started = await runCode(container.connection, fork);
  expect(started).toBeGreaterThan(10);
  expect(started).toBeLessThan(20);
  expect(await runCode(container.connection, "result = 1")).toBe(1);
});

// From start to nothing left, on the real engine: every way a start can end, and what stop does.

import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ContainerSpec } from "../../src/engine/engine.ts";
import { type Bench, openBench, runCode } from "./container-support.ts";

/** Listeners of this process that keep it running. */
const listeners = () =>
  (process as unknown as { _getActiveHandles(): unknown[] })
    ._getActiveHandles()
    .filter((handle) => handle instanceof Server);

let bench: Bench;
beforeAll(async () => {
  bench = await openBench();
});
afterEach(async () => {
  expect(await bench.leftovers()).toEqual([]);
  expect(listeners()).toEqual([]);
});
afterAll(() => bench.close());

describe("a worker that dials in", () => {
  test("is connected, takes code, and is removed with its directory by stop", async () => {
    await using container = await bench.start();
    expect(container.name).toBe("test_pack");
    expect(await runCode(container.connection, "result = 6 * 7")).toBe(42);
    await expect.poll(() => container.logTail(5)).toContain("probe starts"); // the engine collects it on its own time
    expect(await bench.leftovers()).toHaveLength(2);
    await container.stop({ graceMs: 0 });
    await container.stop({ graceMs: 0 });
    expect(container.connection.destroyed).toBe(true);
  });

  test("ends by itself within the grace of stop, and its exit status is known", async () => {
    await using container = await bench.start();
    container.connection.end(); // the probe ends with its connection
    await container.stop({ graceMs: 30_000 });
    expect(await container.exited).toMatchObject({ exitCode: 0 });
  });

  test("that died before is removed by stop as well; `await using` does the same", async () => {
    await using container = await bench.start();
    void runCode(container.connection, "import os; os._exit(5)").catch(() => undefined);
    expect(await container.exited).toMatchObject({ exitCode: 5, oomKilled: false });
    await container.stop({ graceMs: 60_000 });
  });

  test("nobody else can dial in afterwards: the socket is gone", async () => {
    await using container = await bench.start();
    const again = `
import socket
try:
    socket.socket(socket.AF_UNIX).connect("/run/pyisolate/control.sock")
    result = "connected"
except OSError as error:
    result = type(error).__name__
`;
    expect(await runCode(container.connection, again)).toBe("FileNotFoundError");
  });

  test("two of the same pack run side by side", async () => {
    await using first = await bench.start();
    await using second = await bench.start();
    expect(first.id).not.toBe(second.id);
  });
});

describe("a worker that does not", () => {
  test("exits first: at once, with exit code and log", async () => {
    await expect(bench.start({ env: { PROBE: "exit" } })).rejects.toMatchObject({
      code: "PACK_START_FAILED",
      message: expect.stringContaining('pack "test_pack" ended before it said hello with exit code 3'),
      details: { exitCode: 3, logTail: expect.arrayContaining(["probe gives up"]), next: expect.any(String) },
    });
  });

  test("never dials: PACK_START_TIMEOUT with log", async () => {
    const start = bench.start({ env: { PROBE: "sleep" } }, { startupTimeoutMs: 2000 });
    await expect(start).rejects.toMatchObject({
      code: "PACK_START_TIMEOUT",
      message: expect.stringContaining("2000 ms"),
      details: { logTail: ["probe starts"] },
    });
  });

  test("has no Python to start: the engine's error", async () => {
    const start = bench.start({}, { alter: (spec) => ({ ...spec, command: ["/no/such/python"] }) });
    await expect(start).rejects.toMatchObject({ code: expect.stringMatching(/ENGINE_FAILED|PACK_START_FAILED/) });
  });
});

describe("a caller that gives up", () => {
  test("before the start", async () => {
    await expect(bench.start({}, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "CALL_CANCELLED" });
  });

  test("while the worker is awaited", async () => {
    const abort = new AbortController();
    const start = bench.start({ env: { PROBE: "sleep" } }, { signal: abort.signal });
    await expect.poll(() => bench.leftovers(), { timeout: 30_000 }).toHaveLength(2);
    abort.abort();
    await expect(start).rejects.toMatchObject({ code: "CALL_CANCELLED" });
  });
});

describe("a mount", () => {
  const list = `import os; result = sorted(os.listdir("/mnt/x"))`;
  let scratch: string;
  beforeAll(() => {
    scratch = realpathSync(mkdtempSync(join(tmpdir(), "pyisolate-test-")));
    mkdirSync(join(scratch, "secret/inner"), { recursive: true });
    mkdirSync(join(scratch, "granted"));
    symlinkSync(join(scratch, "secret"), join(scratch, "granted/evil"));
    chmodSync(scratch, 0o755);
  });
  afterAll(() => rmSync(scratch, { recursive: true }));
  const mounting = (name: string) => ({ mounts: [{ source: join(scratch, name), target: "/mnt/x", write: false }] });

  test("of a real folder shows it", async () => {
    await using container = await bench.start(mounting("secret"));
    expect(await runCode(container.connection, list)).toEqual(["inner"]);
  });

  test.each(["granted/evil", "granted/evil/inner"])("of %s, which a pack planted, does not start", async (name) => {
    await expect(bench.start(mounting(name))).rejects.toMatchObject({ code: "POLICY_REFUSED" });
  });

  test("by a link would show what it leads to: the engine follows it", async () => {
    const [mount] = mounting("granted/evil").mounts;
    const alter = (spec: ContainerSpec): ContainerSpec => ({
      ...spec,
      mounts: [...spec.mounts, { type: "bind", ...(mount as NonNullable<typeof mount>) }],
    });
    await using container = await bench.start({}, { alter });
    expect(await runCode(container.connection, list)).toEqual(["inner"]);
  });
});

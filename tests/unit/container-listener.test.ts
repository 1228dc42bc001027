import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect, Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { listenForWorker } from "../../src/container/listener.ts";

let scratch: string;
let path: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "pyisolate-listener-"));
  path = join(scratch, "control.sock");
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(scratch, { recursive: true });
});

test("the first connection is the worker's, paused; a second one that was queued is reset", async () => {
  const listener = await listenForWorker(path);
  const worker = connect(path);
  const second = connect(path);
  const secondEnd = new Promise((resolve) => second.once("error", resolve));
  worker.write("hello");
  const connection = await listener.connection;
  expect(connection.isPaused()).toBe(true);
  expect(await secondEnd).toMatchObject({ code: expect.stringMatching(/ECONNRESET|EPIPE/) });
  connection.setEncoding("utf8");
  connection.resume();
  expect(await once(connection, "data")).toEqual(["hello"]);
  expect(existsSync(path)).toBe(false);
  worker.destroy();
  connection.destroy();
});

test("a connection that is not the worker's is closed, and the next one is awaited", async () => {
  const answers = [false, true];
  const listener = await listenForWorker(path, () => answers.shift() as boolean);
  const stranger = connect(path).resume();
  await once(stranger, "close");
  const worker = connect(path);
  worker.write("hello");
  const connection = await listener.connection;
  connection.setEncoding("utf8").resume();
  expect(await once(connection, "data")).toEqual(["hello"]);
  worker.destroy();
  connection.destroy();
});

test("connections that cannot be accepted do not end this program", async () => {
  const listen = vi.spyOn(Server.prototype, "listen");
  const listener = await listenForWorker(path);
  const server = listen.mock.contexts[0] as Server;
  for (const code of ["EMFILE", "EMFILE"]) server.emit("error", Object.assign(new Error(`accept ${code}`), { code }));
  listener.abandon();
});

test("a path that cannot be listened on is one of our errors", async () => {
  await expect(listenForWorker(join(scratch, "missing/control.sock"))).rejects.toMatchObject({
    code: "ISOLATION_UNAVAILABLE",
    details: { next: expect.any(String) },
  });
});

test("abandoning ends the listener, and the connection if one came", async () => {
  const unused = await listenForWorker(path);
  unused.abandon();
  unused.abandon();
  expect(existsSync(path)).toBe(false);

  const listener = await listenForWorker(path);
  const worker = connect(path);
  await listener.connection;
  listener.abandon();
  worker.resume();
  await once(worker, "close");
});

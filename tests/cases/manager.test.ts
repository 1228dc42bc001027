// ExtensionManager and Extension when things end at the wrong time: engines that refuse, workers that misbehave, stops in between.

import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { ContainerSpec, Engine } from "../../src/engine/engine.ts";
import { ExtensionManager } from "../../src/index.ts";
import { Place, packsDirectory } from "./harness.ts";

const trouble = join(packsDirectory, "trouble");

let place: Place;
beforeAll(async () => {
  place = await Place.make();
});
afterAll(() => place[Symbol.asyncDispose]());
afterEach(async () => expect(await place.leftovers()).toEqual([]));

/** The place's engine with some of its container calls replaced. */
function engineWith(replaced: Partial<Engine["containers"]>): Engine {
  const { containers } = place.engine;
  const bound = new Proxy(containers, {
    get: (target, key) => Reflect.get(replaced, key) ?? (Reflect.get(target, key) as () => unknown).bind(target),
  });
  return { ...place.engine, containers: bound };
}

function managerWith(engine: Engine): ExtensionManager {
  return new ExtensionManager({ environment: place.environment, engine });
}

/** A manager whose packs run this Python program instead of their worker. */
function impostor(program: string): ExtensionManager {
  const command = ["/opt/env/bin/python", "-c", program];
  return managerWith(
    engineWith({ create: (spec: ContainerSpec) => place.engine.containers.create({ ...spec, command }) }),
  );
}

/** As a worker does: the descriptor socket first. */
const dial = [
  "import socket, time",
  "d, s = (socket.socket(socket.AF_UNIX) for _ in range(2))",
  "d.connect('/run/pyisolate/segments.sock')",
  "s.connect('/run/pyisolate/control.sock')",
].join("; ");

test("a process that ends before hello is reported at once with its exit code and last lines", async () => {
  await using manager = impostor("import sys; print('cannot go on'); sys.exit(3)");
  await expect(manager.loadExtension(trouble)).rejects.toMatchObject({
    code: "PACK_START_FAILED",
    message: expect.stringContaining("exit code 3"),
    details: { logTail: ["cannot go on"], next: expect.any(String) },
  });
});

test("a worker that dials in and says nothing is given up after startupTimeoutMs, or when the load is cancelled", async () => {
  await using manager = impostor(`${dial}; print('silent'); time.sleep(600)`);
  await expect(manager.loadExtension(trouble, { startupTimeoutMs: 1500 })).rejects.toMatchObject({
    code: "PACK_START_TIMEOUT",
    details: { logTail: ["silent"] },
  });
  const abort = new AbortController();
  const load = manager.loadExtension(trouble, { signal: abort.signal });
  setTimeout(() => abort.abort(), 1500);
  await expect(load).rejects.toMatchObject({ code: "CALL_CANCELLED", message: expect.stringContaining("trouble") });
});

test("a worker that breaks the protocol is refused and removed", async () => {
  await using manager = impostor(`${dial}; s.send(b'GET / HTTP/1.1\\r\\nHost: me\\r\\n'); time.sleep(600)`);
  await expect(manager.loadExtension(trouble)).rejects.toMatchObject({
    code: "PROTOCOL_VIOLATION",
    message: expect.stringContaining('pack "trouble"'),
  });
});

test("an engine that cannot remove a dead pack's container does not hide the death, and stop() may be tried again", async () => {
  let isRefusing = true;
  const remove = (id: string) =>
    isRefusing ? Promise.reject(new Error("engine is away")) : place.engine.containers.remove(id);
  await using manager = managerWith(engineWith({ remove }));
  const extension = await manager.loadExtension(trouble);
  const cleanup = expect.objectContaining({ message: "engine is away" });
  await expect(extension.executeNode("Exit")).rejects.toMatchObject({ code: "PACK_DIED", details: { cleanup } });
  await expect(extension.executeNode("Echo")).rejects.toMatchObject({ code: "PACK_DIED" });
  expect(await extension.closed).toMatchObject({ code: "PACK_DIED" });
  await expect(extension.stop()).rejects.toThrow("engine is away");
  isRefusing = false;
  await extension.stop();
});

test("a node that goes on after its call is over ends its pack, and the other calls are told which node it was", async () => {
  await using manager = place.manager();
  const extension = await manager.loadExtension(trouble, { cancelGraceMs: 300 });
  const bystander = extension.executeNode("SleepAsync", { seconds: 60 }).catch((error: unknown) => error);
  await expect(extension.executeNode("Sleep", {}, { timeoutMs: 100 })).rejects.toMatchObject({ code: "CALL_TIMEOUT" });
  const told = { code: "PACK_UNRESPONSIVE", details: { nodeId: "Sleep" } };
  expect(await bystander).toMatchObject(told);
  await expect(extension.executeNode("Echo")).rejects.toMatchObject(told);
  expect(await extension.closed).toMatchObject(told);
  expect(await place.leftovers()).not.toContainEqual(expect.stringContaining("container"));
});

test("a node that ends when it is cancelled leaves its pack alive", async () => {
  await using manager = place.manager();
  const extension = await manager.loadExtension(trouble, { cancelGraceMs: 2000 });
  for (const id of ["SleepUntilCancelled", "SleepAsync"]) {
    await expect(extension.executeNode(id, {}, { timeoutMs: 100 })).rejects.toMatchObject({ code: "CALL_TIMEOUT" });
  }
  await delay(2500);
  expect((await extension.executeNode("Echo", { choice: "first" })).outputs).toContain("first");
});

test("stop() during a load ends the load, waits for it, and leaves nothing", async () => {
  const manager = place.manager();
  const load = manager.loadExtension(trouble).catch((error: unknown) => error);
  setTimeout(() => void manager.stop(), 150);
  expect(await load).toMatchObject({ code: "PACK_STOPPED" });
  await manager.stop();
  expect(await place.leftovers()).toEqual([]);
  await expect(manager.loadExtension(trouble)).rejects.toMatchObject({ code: "PACK_STOPPED" });
  await expect(manager.ensureImage(trouble)).rejects.toMatchObject({ code: "PACK_STOPPED" });
});

test("a failed connection to the engine is tried again", async () => {
  let failures = 1;
  const list: Engine["containers"]["list"] = (labels) =>
    failures-- > 0 ? Promise.reject(new Error("not now")) : place.engine.containers.list(labels);
  await using manager = managerWith(engineWith({ list }));
  await expect(manager.loadExtension(trouble)).rejects.toThrow("not now");
  await using extension = await manager.loadExtension(trouble);
  expect(extension.nodeIds).toContain("Echo");
});

test("a death names the node that was running, also when another call of it has ended before, and the dead leave list()", async () => {
  await using manager = place.manager();
  const extension = await manager.loadExtension(trouble);
  expect(manager.list()).toEqual([extension]);
  const long = extension.executeNode("Sleep", { seconds: 60 });
  await extension.executeNode("Sleep", { seconds: 0 });
  const exit = extension.executeNode("Exit");
  await expect(exit).rejects.toMatchObject({ code: "PACK_DIED", message: expect.stringContaining('"Sleep", "Exit"') });
  await expect(long).rejects.toMatchObject({ code: "PACK_DIED" });
  await extension.closed;
  expect(manager.list()).toEqual([]);
});

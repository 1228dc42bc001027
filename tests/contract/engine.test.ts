// The engine interface on the real Docker Engine.

import { randomUUID } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer, type Server } from "node:net";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pack } from "tar-stream";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { connectEngine } from "../../src/engine/docker.ts";
import type { BuildOptions, ContainerSpec, Engine, EngineProgress } from "../../src/engine/engine.ts";
import { asEngineError } from "../../src/engine/failure.ts";
import { type ImageBench, openImageBench, testSpec } from "./image-support.ts";

let bench: ImageBench;
let engine: Engine;
const tags: string[] = [];
const containers: string[] = [];

beforeAll(async () => {
  bench = await openImageBench();
  engine = bench.engine;
});
afterEach(async () => {
  for (const id of containers.splice(0)) await engine.containers.remove(id);
});
afterAll(async () => {
  for (const tag of tags) await engine.images.remove(tag);
  await bench.close();
});

function newTag(): string {
  const tag = `pyisolate/test-engine:${randomUUID()}`;
  tags.push(tag);
  return tag;
}

function tarOf(files: Readonly<Record<string, string>>): Readable {
  const tar = pack();
  for (const [name, content] of Object.entries(files)) tar.entry({ name }, content);
  tar.finalize();
  return tar as unknown as Readable;
}

async function build(reference: string, steps: string, options: Partial<BuildOptions> = {}): Promise<EngineProgress[]> {
  const events: EngineProgress[] = [];
  await engine.images.build(tarOf({ Dockerfile: `FROM ${bench.baseReference}\n${steps}\n`, note: "grüße\n" }), {
    reference,
    dockerfile: "Dockerfile",
    labels: { "pyisolate.test": "1" },
    network: "none",
    onProgress: (event) => events.push(event),
    ...options,
  });
  return events;
}

async function run(command: readonly string[], changes: Partial<ContainerSpec> = {}): Promise<readonly string[]> {
  const id = await create(command, changes);
  await engine.containers.start(id);
  await engine.containers.wait(id);
  return engine.containers.logs(id, 100);
}

async function create(command: readonly string[], changes: Partial<ContainerSpec> = {}): Promise<string> {
  const id = await engine.containers.create(testSpec(bench.baseReference, command, changes));
  containers.push(id);
  return id;
}

describe("connecting", () => {
  test("tells what the engine is", async () => {
    const info = await engine.info();
    expect(info.version).toMatch(/^\d+\.\d+/);
    expect(info.cpus).toBeGreaterThan(0);
    expect(info.runtimes).toContain("runc");
    expect([1, 2]).toContain(info.cgroupVersion);
  });

  test("no engine on the socket", async () => {
    await expect(connectEngine({ dockerHost: "unix:///nowhere/docker.sock" })).rejects.toMatchObject({
      code: "ENGINE_UNAVAILABLE",
      message: expect.stringContaining("/nowhere/docker.sock"),
      details: { next: expect.stringContaining("systemctl start docker") },
    });
  });

  test.each(["tcp://10.0.0.1:2375", "ssh://host"])("an engine on another machine (%s)", async (dockerHost) => {
    await expect(connectEngine({ dockerHost })).rejects.toMatchObject({
      code: "ENGINE_UNSUPPORTED",
      message: expect.stringContaining(dockerHost),
    });
  });

  test("an engine this user may not use", () => {
    const denied = Object.assign(new Error("connect EACCES"), { code: "EACCES" });
    expect(asEngineError(denied, "Docker Engine")).toMatchObject({
      code: "ENGINE_NOT_PERMITTED",
      details: { next: expect.stringContaining("usermod -aG docker") },
    });
  });

  /** Connects to something that is not the machine's engine. */
  async function connectTo(server: Server): Promise<unknown> {
    const folder = await mkdtemp(join(tmpdir(), "engine-"));
    await new Promise<void>((resolve) => server.listen(join(folder, "docker.sock"), resolve));
    try {
      return await connectEngine({ dockerHost: `unix://${folder}/docker.sock` });
    } finally {
      server.close();
      await rm(folder, { recursive: true });
    }
  }

  /** A server of HTTP with one connection per request. */
  function httpServer(answer: (request: IncomingMessage, response: ServerResponse) => void): Server {
    return createHttpServer((request, response) => answer(request, response.setHeader("connection", "close")));
  }

  test.each([
    ["an old API", { ApiVersion: "1.40" }, {}, "API 1.40"],
    ["an API that is none", { ApiVersion: "latest" }, {}, "API latest"],
    ["another kernel", { KernelVersion: "5.15.0-linuxkit" }, {}, "5.15.0-linuxkit"],
    ["no cgroup driver", {}, { CgroupDriver: "none" }, "cgroup"],
    ["no API version", { ApiVersion: undefined }, {}, "gives nothing as its ApiVersion, expected text"],
    ["a number in place of a text", { ApiVersion: 5 }, {}, "gives 5 as its ApiVersion, expected text"],
    ["no name for its cgroup driver", {}, { CgroupDriver: undefined }, "gives nothing as its CgroupDriver"],
    ["no memory", {}, { MemTotal: undefined }, "gives nothing as its MemTotal, expected a number above 0"],
  ])("an engine with %s", async (_what, version, info, message) => {
    const answers: Record<string, object> = {
      "/version": { ApiVersion: "1.41", KernelVersion: release(), Version: "20.10", ...version },
      "/info": { CgroupDriver: "cgroupfs", NCPU: 2, MemTotal: 1e9, ...info },
    };
    const server = httpServer((request, response) => {
      response.setHeader("content-type", "application/json").end(JSON.stringify(answers[request.url ?? ""]));
    });
    await expect(connectTo(server)).rejects.toMatchObject({
      code: "ENGINE_UNSUPPORTED",
      message: expect.stringContaining(message),
      details: { next: expect.any(String) },
    });
  });

  test.each([
    ["no HTTP", () => createServer((socket) => socket.end("220 mail.example ready\r\n")), "Parse Error"],
    ["a web page", () => httpServer((_request, response) => response.end("<html>")), "else than a JSON object"],
    ["null", () => httpServer((_request, response) => response.end("null")), "else than a JSON object"],
    ["a list", () => httpServer((_request, response) => response.end("[1]")), "else than a JSON object"],
    ["nothing", () => httpServer((_request, response) => response.end()), "else than a JSON object"],
    ["404", () => httpServer((_request, response) => response.writeHead(404).end("no such page")), "no such page"],
    ["a redirection", () => httpServer((_request, response) => response.writeHead(301).end()), "no Docker Engine"],
  ])("something that answers with %s", async (_what, makeServer, message) => {
    await expect(connectTo(makeServer())).rejects.toMatchObject({
      code: "ENGINE_UNSUPPORTED",
      message: expect.stringContaining(message),
      details: { next: expect.stringContaining("DOCKER_HOST") },
    });
  });
});

describe("building", () => {
  test("makes a labelled image and tells steps and whole log lines", async () => {
    const tag = newTag();
    const events = await build(
      tag,
      `RUN --mount=type=bind,source=note,target=/run/note cat /run/note; printf 'one '; sleep 0.2; echo two ${tag}; printf end`,
    );
    const lines = events.flatMap((event) => (event.type === "log" ? [event.line] : []));
    expect(lines).toEqual(["grüße", `one two ${tag}`, "end"]);
    const states = events.flatMap((event) =>
      event.type === "step" && event.name.includes("RUN cat") ? [event.state] : [],
    );
    expect(states).toEqual(["started", "done"]);
    expect((await engine.images.inspect(tag))?.labels["pyisolate.test"]).toBe("1");
    expect((await engine.images.list({ "pyisolate.test": "" })).flatMap((image) => image.tags)).toContain(tag);
  });

  test("that fails names the step, its exit code and its last lines, and leaves no tag", async () => {
    const tag = newTag();
    const failed = build(tag, `RUN for i in $(seq 30); do echo line $i; done; echo ${tag}; exit 3`);
    await expect(failed).rejects.toMatchObject({
      code: "IMAGE_BUILD_FAILED",
      message: expect.stringMatching(/RUN for i in .*exit code 3, expected 0/),
      details: { step: expect.stringContaining("exit 3") },
    });
    const { details } = await failed.catch((error) => error);
    expect(details.logTail).toHaveLength(20);
    expect(details.logTail.slice(-2)).toEqual(["line 30", tag]);
    expect(await engine.images.inspect(tag)).toBeUndefined();
  });

  test("of a Dockerfile that is none fails too", async () => {
    await expect(build(newTag(), "FLY away")).rejects.toMatchObject({
      code: "IMAGE_BUILD_FAILED",
      message: expect.stringMatching(/unknown instruction: FLY/),
    });
  });

  test("that is aborted ends at once with the signal's reason and leaves no tag", async () => {
    const tag = newTag();
    const abort = new AbortController();
    const reason = new Error("enough");
    const building = build(tag, `RUN echo ${tag}; sleep 60`, {
      signal: abort.signal,
      onProgress: (event) => event.type === "log" && abort.abort(reason),
    });
    await expect(building).rejects.toBe(reason);
    expect(await engine.images.inspect(tag)).toBeUndefined();
  }, 20_000);

  test("without network reaches nothing", async () => {
    const events = await build(newTag(), `RUN echo ${randomUUID()}; tail -n +3 /proc/net/dev | wc -l`);
    expect(events.findLast((event) => event.type === "log")).toMatchObject({ line: "1" });
  });

  test("fails with the context's own error when that breaks", async () => {
    const broken = new Readable({ read: () => broken.destroy(new Error("disk is gone")) });
    const options = { reference: newTag(), dockerfile: "Dockerfile", labels: {}, network: "none" } as const;
    await expect(engine.images.build(broken, options)).rejects.toThrow("disk is gone");
  });
});

describe("images", () => {
  test("are imported from a tar, with labels", async () => {
    const tag = newTag();
    await engine.images.import(tarOf({ "hello.txt": "hello" }), tag, { "pyisolate.test": 'a "quoted" word' });
    expect((await engine.images.inspect(tag))?.labels["pyisolate.test"]).toBe('a "quoted" word');
    const id = await engine.containers.create(testSpec(tag, ["none"]));
    containers.push(id);
    expect((await engine.containers.readFile(id, "/hello.txt")).toString()).toBe("hello");
  });

  test("that a container uses, or that do not exist, are not removed", async () => {
    const tag = newTag();
    await engine.images.import(tarOf({ a: "" }), tag, {});
    const id = await engine.containers.create(testSpec(tag, ["none"]));
    expect(await engine.images.remove(tag)).toBe(false);
    await engine.containers.remove(id);
    expect(await engine.images.remove(tag)).toBe(true);
    expect(await engine.images.remove(tag)).toBe(false);
    expect(await engine.images.inspect(tag)).toBeUndefined();
  });

  test("that no registry has cannot be pulled", async () => {
    await expect(engine.images.pull("localhost:9/none/none:1")).rejects.toMatchObject({
      code: "ENGINE_FAILED",
      message: expect.stringContaining("localhost:9/none/none:1"),
    });
  });
});

describe("containers", () => {
  test("run as they were specified", async () => {
    const script = [
      "id -u; pwd; head -n 60 /proc/self/status; echo $WORD",
      "ulimit -n; df -k --output=size /dev/shm /scratch | tail -n 2; touch /x",
    ].join("; ");
    const lines = await run(["/bin/sh", "-c", script], {
      env: { WORD: "two words" },
      workingDir: "/tmp",
      tmpfs: [{ target: "/scratch", sizeBytes: 2 * 1024 ** 2, mode: "1777", exec: true }],
    });
    const told = lines.map((line) => line.replace(/\s+/g, " ").trim());
    const wanted = ["65534", "/tmp", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2", "two words", "128"];
    expect(told).toEqual(expect.arrayContaining([...wanted, "4096", "2048"]));
    expect(told.join("\n")).toMatch(/touch: .*Read-only file system/);
  });

  test("see their mounts, writable only where asked", async () => {
    const folder = await mkdtemp(join(tmpdir(), "engine-mount-"));
    await chmod(folder, 0o777);
    try {
      const lines = await run(["/bin/sh", "-c", "ls -d /mounted; touch /mounted/x"], {
        mounts: [{ type: "bind", source: folder, target: "/mounted", write: false }],
      });
      expect([...lines].sort()).toEqual(["/mounted", expect.stringMatching(/Read-only file system/)]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("are killed above their memory, and say so", async () => {
    const id = await create(["/opt/env/bin/python", "-c", "x = bytearray(200 * 1024 ** 2)"]);
    await engine.containers.start(id);
    expect(await engine.containers.wait(id)).toEqual({ exitCode: 137, oomKilled: true });
  });

  test("go through created, running and ended", async () => {
    const script = "until test -e /tmp/end; do sleep 0.05; done; exit 7";
    const folder = await mkdtemp(join(tmpdir(), "engine-gate-"));
    await chmod(folder, 0o755);
    const id = await create(["/bin/sh", "-c", script], {
      mounts: [{ type: "bind", source: folder, target: "/tmp", write: false }],
    });
    expect(await engine.containers.inspect(id)).toMatchObject({
      running: false,
      exit: undefined,
      labels: { "pyisolate.kind": "test" },
    });
    await engine.containers.start(id);
    const running = await engine.containers.inspect(id);
    expect(running).toMatchObject({ running: true, exit: undefined });
    expect(running?.pid).toBeGreaterThan(0);
    const listed = (await engine.containers.list({ "pyisolate.kind": "test" })).find(
      (container) => container.id === id,
    );
    expect(listed).toMatchObject({ running: true, imageId: running?.imageId });
    await writeFile(join(folder, "end"), "");
    expect(await engine.containers.wait(id)).toEqual({ exitCode: 7, oomKilled: false });
    await rm(folder, { recursive: true });
    expect(await engine.containers.inspect(id)).toMatchObject({
      running: false,
      exit: { exitCode: 7, oomKilled: false },
    });
    await engine.containers.remove(id);
    await engine.containers.remove(id);
    expect(await engine.containers.inspect(id)).toBeUndefined();
  });

  test("give their last lines of both outputs", async () => {
    const id = await create(["/bin/sh", "-c", "echo one; echo '{\"a\": 1}' >&2; echo three"]);
    await engine.containers.start(id);
    await engine.containers.wait(id);
    expect([...(await engine.containers.logs(id, 10))].sort()).toEqual(["one", "three", '{"a": 1}'].sort());
    expect(await engine.containers.logs(id, 2)).toHaveLength(2);
  });

  test("give at most 2000 characters of a line", async () => {
    const lines = await run(["/opt/env/bin/python", "-c", "print('x' * 500_000); print('end')"]);
    expect(lines.map(({ length }) => length)).toEqual([2001, 3]);
  });

  test("run programs on a tmpfs only where that was asked for", async () => {
    const script = "for f in /can /cannot; do cp /bin/true $f/true; $f/true && echo $f; done";
    const common = { sizeBytes: 1024 ** 2, mode: "1777" };
    const tmpfs = [
      { ...common, target: "/can", exec: true },
      { ...common, target: "/cannot", exec: false },
    ];
    const lines = await run(["/bin/sh", "-c", script], { tmpfs });
    expect([...lines].sort()).toEqual([expect.stringMatching(/cannot.true: Permission denied/), "/can"]);
  });

  test("give a file, and say which one they have not", async () => {
    const id = await create(["none"]);
    expect((await engine.containers.readFile(id, "/opt/env/pyvenv.cfg")).toString()).toContain("home =");
    await expect(engine.containers.readFile(id, "/none")).rejects.toMatchObject({
      code: "ENGINE_FAILED",
      message: expect.stringContaining("/none in container"),
    });
  });

  test("of an image that does not exist are refused", async () => {
    await expect(engine.containers.create(testSpec("pyisolate/none:none", ["none"]))).rejects.toMatchObject({
      code: "ENGINE_FAILED",
      message: expect.stringMatching(/No such image/i),
    });
  });
});

test("volumes are made once, listed by label and removed", async () => {
  const name = `pyisolate-test-${randomUUID()}`;
  const labels = { "pyisolate.kind": "test", "pyisolate.test": name };
  await engine.volumes.ensure(name, labels);
  await engine.volumes.ensure(name, labels);
  expect(await engine.volumes.list({ "pyisolate.test": name })).toEqual([name]);
  await engine.volumes.remove(name);
  await engine.volumes.remove(name);
  expect(await engine.volumes.list({ "pyisolate.test": name })).toEqual([]);
});

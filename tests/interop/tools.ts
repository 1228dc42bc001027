// Tools: runs a script of this folder in a container of the Python tools, where hypothesis and numpy are.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectEngine } from "../../src/engine/docker.ts";
import type { ContainerSpec } from "../../src/engine/engine.ts";
import { ExtensionManager } from "../../src/extension/manager.ts";
import type { PythonProcess } from "./python.ts";

const root = join(import.meta.dirname, "../..");
const MiB = 1024 ** 2;

/** Runs `python SCRIPT SOCKET`. Rejects with its output when it ends before it dials. */
export async function startPythonTools(script: string): Promise<PythonProcess> {
  const manager = new ExtensionManager({});
  const { image } = await manager.ensureImage(join(root, "tests/python-tools")).finally(() => manager.stop());
  const engine = await connectEngine();
  const directory = mkdtempSync(join(tmpdir(), "pyisolate-interop-"));
  const server = createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(join(directory, "control.sock"), resolve));
  const connection = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const id = await engine.containers.create(spec(image.reference, script, directory));
  await engine.containers.start(id);
  const exited = engine.containers.wait(id).then(({ exitCode }) => exitCode);
  const stop = async () => {
    await engine.containers.remove(id);
    server.close();
    rmSync(directory, { recursive: true });
  };
  const ended = exited.then(async () => {
    throw new Error(`${script} ended before it dialled:\n${(await engine.containers.logs(id, 100)).join("\n")}`);
  });
  ended.catch(() => {}); // after the connection it is no failure
  try {
    return { socket: await Promise.race([connection, ended]), exited, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function spec(image: string, script: string, directory: string): ContainerSpec {
  return {
    image,
    command: ["/opt/env/bin/python", `/repository/tests/interop/${script}`, "/run/interop/control.sock"],
    env: { HOME: "/tmp", PYTHONPATH: "/repository/runtime-python/src", PYTHONDONTWRITEBYTECODE: "1" },
    labels: { "pyisolate.kind": "tools" },
    workingDir: "/tmp",
    user: `${process.getuid?.()}:${process.getgid?.()}`,
    network: "none",
    readOnlyRoot: true,
    dropAllCapabilities: true,
    noNewPrivileges: true,
    seccomp: "default",
    ipc: "private",
    init: true,
    limits: {
      memoryBytes: 1024 * MiB,
      cpuPercent: 200,
      pids: 256,
      openFiles: 1024,
      fileSizeBytes: 64 * MiB,
      shmBytes: 64 * MiB,
      logBytes: 16 * MiB,
    },
    mounts: [
      { type: "bind", source: root, target: "/repository", write: false },
      { type: "bind", source: directory, target: "/run/interop", write: false },
    ],
    tmpfs: [{ target: "/tmp", sizeBytes: 64 * MiB, mode: "1777", exec: false }],
  };
}

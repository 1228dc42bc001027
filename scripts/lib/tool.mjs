// Programs of this repository's own tools, each in a container that sees the repository read-only and no network.

import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
const MiB = 1024 ** 2;

/** Where a tool finds the repository. */
export const repository = "/repository";

/**
 * Runs one command and gives its status and output. `mounts`: further ones, as the engine takes them.
 * The user is this one, the working directory the repository, HOME and /tmp are empty.
 */
export async function runTool({ image, command, env = {}, mounts = [] }) {
  const { connectEngine } = await import("../../dist/engine/docker.js");
  const { BuildOwner } = await import("../../dist/extension/build-owner.js");
  const { chooseRunRoot } = await import("../../dist/container/rundir.js");
  const engine = await connectEngine({ dockerHost: process.env.DOCKER_HOST });
  const user = { xdgRuntimeDir: process.env.XDG_RUNTIME_DIR, uid: process.getuid() };
  // So that whoever comes next removes the container of a script that was killed.
  const owner = new BuildOwner(engine, chooseRunRoot(user));
  let id;
  try {
    const labels = { "pyisolate.kind": "tools", ...(await owner.labels()) };
    id = await engine.containers.create(containerSpec({ image, command, env, mounts, labels }));
    await engine.containers.start(id);
    const { exitCode } = await engine.containers.wait(id);
    const lines = await engine.containers.logs(id, 2000);
    return { exitCode, output: lines.map((line) => `${line}\n`).join("") };
  } finally {
    if (id !== undefined) await engine.containers.remove(id);
    await owner[Symbol.asyncDispose]();
  }
}

function containerSpec({ image, command, env, mounts, labels }) {
  return {
    image,
    command,
    env: { HOME: "/tmp", PYTHONDONTWRITEBYTECODE: "1", ...env },
    labels,
    workingDir: repository,
    user: `${process.getuid()}:${process.getgid()}`,
    network: "none",
    readOnlyRoot: true,
    dropAllCapabilities: true,
    noNewPrivileges: true,
    seccomp: "default",
    ipc: "private",
    init: true,
    limits: {
      memoryBytes: 4096 * MiB,
      cpuPercent: 200,
      pids: 1024,
      openFiles: 4096,
      fileSizeBytes: 1024 * MiB,
      shmBytes: 64 * MiB,
      logBytes: 64 * MiB,
    },
    mounts: [{ type: "bind", source: root, target: repository, write: false }, ...mounts],
    tmpfs: [{ target: "/tmp", sizeBytes: 1024 * MiB, mode: "1777", exec: true }],
  };
}

// Python tools (pytest, ruff, mypy) in a container of our own making: the machine needs no Python.
// Their environment is an ordinary pack image, made from tests/python-tools/manifest.yaml.

import { join } from "node:path";
import { withManager } from "./setup.mjs";

const root = join(import.meta.dirname, "../..");
const MiB = 1024 ** 2;

/** Runs one command on the repository, which is mounted read-only as the working directory. Gives its status and output. */
export async function runPythonTools(pyisolate, python, command) {
  const { connectEngine } = await import("../../dist/engine/docker.js");
  const image = await ensureTools(pyisolate, python);
  const engine = await connectEngine({ dockerHost: process.env.DOCKER_HOST });
  const id = await engine.containers.create(containerSpec(image, command));
  try {
    await engine.containers.start(id);
    const { exitCode } = await engine.containers.wait(id);
    const lines = await engine.containers.logs(id, 2000);
    return { exitCode, output: lines.map((line) => `${line}\n`).join("") };
  } finally {
    await engine.containers.remove(id);
  }
}

async function ensureTools(pyisolate, python) {
  const config = { name: "python-tools", module_path: join(root, "tests/python-tools"), python };
  const { image } = await withManager(pyisolate, (manager) =>
    manager.ensureImage(config, { onProgress: pyisolate.printProgress }),
  );
  return image.reference;
}

function containerSpec(image, command) {
  const [program, ...args] = command;
  return {
    image,
    command: [program === "python" ? "/opt/env/bin/python" : program, ...args],
    env: {
      HOME: "/tmp",
      PYTHONPATH: "/repository/runtime-python/src",
      PYTHONDONTWRITEBYTECODE: "1",
      PYTEST_ADDOPTS: "-p no:cacheprovider",
      HYPOTHESIS_STORAGE_DIRECTORY: "/tmp/hypothesis",
      MYPY_CACHE_DIR: "/tmp/mypy",
      RUFF_CACHE_DIR: "/tmp/ruff",
    },
    labels: { "pyisolate.kind": "tools" },
    workingDir: "/repository",
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
    mounts: [{ type: "bind", source: root, target: "/repository", write: false }],
    tmpfs: [{ target: "/tmp", sizeBytes: 1024 * MiB, mode: "1777", exec: true }],
  };
}

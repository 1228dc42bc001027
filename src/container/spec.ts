// Spec: image + Manifest + directories → what the engine is asked for. Pure. Each flag of a pack's container is decided
// here and nowhere else. Every pack gets the whole sandbox; nothing here weakens it. What may be asked for at all was
// decided when the manifest was read, and is trusted here. Must not know RPC, or how the image was made beyond the paths
// below, which src/manifest/reserved.ts keeps free.

import type { ContainerMount, ContainerSpec } from "../engine/engine.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { packLabels } from "./labels.ts";
import { controlSocketName } from "./rundir.ts";
import { mountedSegmentsTarget, mountedSegmentsVariable } from "./segments.ts";

/** Where things lie in a pack's container. */
const python = "/opt/env/bin/python";
const runtimeDirectory = "/opt/pyisolate";
const runDirectory = "/run/pyisolate";
const dataDirectory = "/data";
const temporaryDirectory = "/tmp";

/** Several times what data loaders with many workers open. */
const openFiles = 8192;
/** Enough for a traceback of every node, little enough for a pack that prints in a loop. */
const logBytes = 8 * 1024 * 1024;

export interface PackContainerRequest {
  readonly image: string;
  readonly manifest: Manifest;
  /** Path of the program's owner directory. */
  readonly ownerDirectory: string;
  /** The pack's directory in it, on this machine, and its id. */
  readonly packDirectory: string;
  readonly packId: string;
  /** The pack's directory of shared memory on this machine, where memory goes by path. */
  readonly segmentsDirectory?: string | undefined;
  /** The user this program runs as. */
  readonly caller: { readonly uid: number; readonly gid: number };
  /** Seccomp profile as JSON text. */
  readonly seccomp: string;
}

export function packContainerSpec(request: PackContainerRequest): ContainerSpec {
  const { manifest } = request;
  const mounts = manifest.mounts.map((mount): ContainerMount => ({ type: "bind", ...mount }));
  return {
    name: `pyisolate-${manifest.name}-${request.packId}`,
    image: request.image,
    command: [python, "-u", "-m", "pyisolate.worker", `${runDirectory}/${controlSocketName}`],
    env: {
      ...environment(manifest),
      ...(request.segmentsDirectory === undefined ? {} : { [mountedSegmentsVariable]: mountedSegmentsTarget }),
    },
    labels: packLabels(manifest.name, request.ownerDirectory),
    // Not the pack: `python -m` would look there first for the modules of the standard library.
    workingDir: "/",
    user: mounts.some((mount) => mount.write) ? `${request.caller.uid}:${request.caller.gid}` : ownUser(manifest.name),
    // A list of hosts does not get this far: not-yet.ts.
    network: manifest.network === "full" ? "bridge" : "none",
    ...(manifest.runtime === undefined ? {} : { runtime: manifest.runtime }),
    readOnlyRoot: true,
    dropAllCapabilities: true,
    noNewPrivileges: true,
    seccomp: request.seccomp,
    ipc: "private",
    init: true,
    limits: {
      memoryBytes: manifest.maxMemoryBytes,
      cpuPercent: manifest.maxCpuPercent,
      pids: manifest.maxPids,
      openFiles,
      // No file a pack may write is meant to be larger than what it may hold.
      fileSizeBytes: Math.max(manifest.maxMemoryBytes, manifest.maxTmpBytes, manifest.dataBytes ?? 0),
      shmBytes: manifest.maxTmpBytes,
      logBytes,
    },
    mounts: [
      { type: "bind", source: request.packDirectory, target: runDirectory, write: false },
      ...(request.segmentsDirectory === undefined
        ? []
        : [{ type: "bind" as const, source: request.segmentsDirectory, target: mountedSegmentsTarget, write: true }]),
      ...(manifest.dataBytes === undefined
        ? []
        : [{ type: "volume" as const, source: dataVolumeName(manifest.name), target: dataDirectory, write: true }]),
      ...mounts,
    ],
    // Programs may run from /tmp: torch and numba compile into it, and "noexec" would not stop Python code anyway.
    tmpfs: [{ target: temporaryDirectory, sizeBytes: manifest.maxTmpBytes, mode: "1777", exec: true }],
  };
}

/** The volume that holds a pack's `data`. */
export function dataVolumeName(pack: string): string {
  return `pyisolate-data-${pack}`;
}

/** Ours win over the manifest's where the runtime depends on them; thread counts are only a default. */
function environment(manifest: Manifest): Record<string, string> {
  const home = manifest.dataBytes === undefined ? temporaryDirectory : dataDirectory;
  const fixed = {
    PYTHONPATH: runtimeDirectory,
    HOME: home,
    USER: "pack",
    LOGNAME: "pack",
    ...(manifest.dataBytes === undefined ? {} : { PYISOLATE_DATA: dataDirectory }),
  };
  const threads = String(Math.max(1, Math.ceil(manifest.maxCpuPercent / 100)));
  return {
    PYTHONUNBUFFERED: "1",
    PYTHONDONTWRITEBYTECODE: "1",
    // torch takes its thread count from OMP_NUM_THREADS and MKL_NUM_THREADS.
    OMP_NUM_THREADS: threads,
    MKL_NUM_THREADS: threads,
    OPENBLAS_NUM_THREADS: threads,
    NUMEXPR_NUM_THREADS: threads,
    TORCHINDUCTOR_COMPILE_THREADS: threads,
    ...manifest.env,
    ...fixed,
  };
}

/**
 * "uid:gid" of a pack: the same for a name at every start, most likely nobody else's.
 * In 0x70000000 … 0x7ffdffff, a range that systemd's list of uids calls unused.
 */
function ownUser(name: string): string {
  const id = 0x70000000 + (fnv1a(name) % 0x0ffe0000);
  return `${id}:${id}`;
}

/** FNV-1a, 32 bits, over the name's UTF-16 units (names are ASCII). */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193) >>> 0;
  return hash;
}

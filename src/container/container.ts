// Container: from image and manifest to a worker that has dialled in, and back to nothing.
// Rule: whatever fails or is aborted on the way, no container, directory or socket is left. Must not know RPC.

import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Engine, ExitStatus } from "../engine/engine.ts";
import { isPyisolateError, PyisolateError } from "../errors.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { deathError, logTailLines } from "../supervisor/death.ts";
import { dataLabels } from "./labels.ts";
import { readKernelLimits, requireLimits } from "./limits.ts";
import { listenForWorker, type WorkerListener } from "./listener.ts";
import { requireRealSources } from "./mounts.ts";
import type { OwnerDirectory, PackDirectory } from "./rundir.ts";
import { readSeccompProfile } from "./seccomp.ts";
import { createSegmentsDirectory, type SegmentsDirectory, type SegmentsRoute } from "./segments.ts";
import { settlesWithin } from "./settles.ts";
import { dataVolumeName, packContainerSpec } from "./spec.ts";

/** Milliseconds after a process's end within which the engine has noticed it, with room for a busy machine. */
const engineDelayMs = 1000;

export interface ContainerRequest {
  /** Reference of the pack's image. */
  readonly image: string;
  readonly manifest: Manifest;
  readonly owner: OwnerDirectory;
  /** How memory is to be shared with it. */
  readonly segments: SegmentsRoute;
  /** The uid of the process at the other end; absent: this program cannot tell, and only directories keep others out. */
  readonly peerUid?: ((connection: Socket) => number | undefined) | undefined;
}

export interface StartOptions {
  /** Milliseconds from the container's start until its worker has dialled in. */
  readonly startupTimeoutMs: number;
  readonly signal?: AbortSignal;
}

/** A container whose worker is connected. Its starter owns it: `stop` or dispose it. */
export interface RunningContainer {
  readonly id: string;
  /** The pack's name. */
  readonly name: string;
  /** The worker's connection, paused: nothing it sends is lost before `resume()`. Ends with `stop`. */
  readonly connection: Socket;
  /** The worker's connection for descriptors, paused; undefined unless that is the route. Ends with `stop`. */
  readonly segmentsConnection: Socket | undefined;
  /** The pack's directory of shared memory; undefined unless that is the route. Removed by `stop`. */
  readonly segmentsDirectory: string | undefined;
  /** In force, read from the kernel: bytes, percent of one core, processes and threads. */
  readonly limits: { readonly max_memory: number; readonly max_cpu_percent: number; readonly max_pids: number };
  /** Settles when the container has ended; undefined: the engine cannot say how. Never rejects. */
  readonly exited: Promise<ExitStatus | undefined>;
  /** The last `lines` lines it printed, oldest first; none when the engine cannot say, and after `stop`. Never rejects. */
  logTail(lines: number): Promise<readonly string[]>;
  /** Waits up to `graceMs` for it to end by itself, then kills it; removes it and its directory. Stopping twice is fine. */
  stop(options: { readonly graceMs: number }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts a pack's container and waits for its worker to dial in.
 * Raises PACK_START_FAILED or PACK_OUT_OF_MEMORY at once when it ends first, PACK_START_TIMEOUT, LIMIT_NOT_ENFORCED,
 * ISOLATION_UNAVAILABLE, POLICY_REFUSED for a mount that leads elsewhere, CALL_CANCELLED when `signal` aborts, and the
 * engine's own errors. `details.cleanup` of any of them is the error that kept something from being removed.
 */
export async function startContainer(
  engine: Engine,
  request: ContainerRequest,
  options: StartOptions,
): Promise<RunningContainer> {
  const { manifest, owner } = request;
  const directory = await owner.createPackDirectory();
  const listeners: WorkerListener[] = [];
  let segmentsDirectory: SegmentsDirectory | undefined;
  let id: string | undefined;
  try {
    if (request.segments === "mounted") segmentsDirectory = await createSegmentsDirectory(owner.path, directory.id);
    const spec = packContainerSpec({
      image: request.image,
      manifest,
      ownerDirectory: owner.path,
      packDirectory: directory.path,
      packId: directory.id,
      segmentsDirectory: segmentsDirectory?.path,
      caller: owner.user,
      seccomp: readSeccompProfile(),
    });
    const isWorker = await workerTest(engine, request, spec.user);
    listeners.push(await listenForWorker(directory.controlSocket, isWorker));
    if (request.segments === "descriptor") listeners.push(await listenForWorker(directory.segmentsSocket, isWorker));
    if (manifest.dataBytes !== undefined) {
      await engine.volumes.ensure(dataVolumeName(manifest.name), dataLabels(manifest.name));
    }
    refuseIfAborted(manifest, options.signal);
    await requireRealSources(manifest);
    id = await engine.containers.create(spec);
    refuseIfAborted(manifest, options.signal);
    await engine.containers.start(id);
    const start = { engine, id, manifest, exited: engine.containers.wait(id).catch(() => undefined) };
    const [connections, limits] = await Promise.all([waitForWorker(start, listeners, options), confirmLimits(start)]);
    return runningContainer(start, { directory, segmentsDirectory, connections, limits });
  } catch (error) {
    for (const listener of listeners) listener.abandon();
    throw await cleanUp(error, [
      async () => (id === undefined ? undefined : engine.containers.remove(id)),
      async () => segmentsDirectory?.remove(),
      () => directory.remove(),
    ]);
  }
}

/** Whether a connection comes from the container's user. An engine that maps users to others gives no uid to expect. */
async function workerTest(
  engine: Engine,
  { peerUid }: ContainerRequest,
  user: string,
): Promise<((connection: Socket) => boolean) | undefined> {
  if (peerUid === undefined) return undefined;
  const { rootless, securityOptions } = await engine.info();
  if (rootless || securityOptions.some((option) => option.includes("userns"))) return undefined;
  return (connection) => String(peerUid(connection)) === user.split(":")[0];
}

/** Takes every step even if an earlier one fails, and gives `error`, with `details.cleanup` when one failed. */
async function cleanUp(error: unknown, steps: readonly (() => Promise<void>)[]): Promise<unknown> {
  const failures: unknown[] = [];
  for (const step of steps) await step().catch((failure: unknown) => failures.push(failure));
  if (failures.length === 0 || !isPyisolateError(error)) return error;
  return new PyisolateError(error.code, error.message, { ...error.details, cleanup: failures[0] }, error.cause);
}

/** A container that has been started. */
interface Started {
  readonly engine: Engine;
  readonly id: string;
  readonly manifest: Manifest;
  readonly exited: Promise<ExitStatus | undefined>;
}

/** One connection per listener, in their order. */
async function waitForWorker(
  start: Started,
  listeners: readonly WorkerListener[],
  options: StartOptions,
): Promise<readonly Socket[]> {
  const { startupTimeoutMs, signal } = options;
  const timer = new AbortController();
  const timeout = sleep(startupTimeoutMs, "timeout" as const, { signal: timer.signal });
  timeout.catch(() => undefined); // the timer is stopped below
  const aborted = new Promise<"aborted">((resolve) => {
    if (signal?.aborted) resolve("aborted");
    signal?.addEventListener("abort", () => resolve("aborted"), { signal: timer.signal });
  });
  try {
    const connected = Promise.all(listeners.map(({ connection }) => connection));
    const first = await Promise.race([connected, start.exited, timeout, aborted]);
    if (first === "aborted") throw cancelled(start.manifest, signal?.reason);
    if (first === "timeout") throw await startTimeout(start, startupTimeoutMs);
    if (Array.isArray(first)) return first;
    throw await endedTooEarly(start);
  } finally {
    timer.abort();
  }
}

/** Reads the limits in force while the worker starts, and holds them against the manifest. */
async function confirmLimits(start: Started): Promise<RunningContainer["limits"]> {
  const { engine, id, manifest, exited } = start;
  const pid = (await engine.containers.inspect(id))?.pid ?? 0;
  if (pid === 0) throw await endedTooEarly(start);
  try {
    const found = readKernelLimits({ id, pid });
    const asked = { memoryBytes: manifest.maxMemoryBytes, cpuPercent: manifest.maxCpuPercent, pids: manifest.maxPids };
    requireLimits(manifest.name, asked, found);
    return { max_memory: found.memoryBytes, max_cpu_percent: found.cpuPercent, max_pids: found.pids };
  } catch (error) {
    // A container that ended meanwhile took its process and its cgroup along; the engine says so a little later.
    throw (await settlesWithin(exited, engineDelayMs)) ? await endedTooEarly(start) : error;
  }
}

function runningContainer(
  { engine, id, manifest, exited }: Started,
  parts: {
    readonly directory: PackDirectory;
    readonly segmentsDirectory: SegmentsDirectory | undefined;
    readonly connections: readonly Socket[];
    readonly limits: RunningContainer["limits"];
  },
): RunningContainer {
  const { directory, segmentsDirectory, connections, limits } = parts;
  const [connection, segmentsConnection] = connections as [Socket, Socket?];
  let stopped: Promise<void> | undefined;
  const end = async (graceMs: number) => {
    if (graceMs > 0) await settlesWithin(exited, graceMs);
    for (const each of connections) each.destroy();
    await engine.containers.remove(id);
    await segmentsDirectory?.remove();
    await directory.remove();
  };
  const stop = ({ graceMs }: { readonly graceMs: number }) => {
    stopped ??= end(graceMs).catch((error) => {
      stopped = undefined; // the engine failed: the next call tries again
      throw error;
    });
    return stopped;
  };
  return {
    id,
    name: manifest.name,
    connection,
    segmentsConnection,
    segmentsDirectory: segmentsDirectory?.path,
    limits,
    exited,
    logTail: (lines) => readLogTail(engine, id, lines),
    stop,
    [Symbol.asyncDispose]: () => stop({ graceMs: 0 }),
  };
}

/** What it printed explains an error and must never replace it. */
async function readLogTail(engine: Engine, id: string, lines: number): Promise<readonly string[]> {
  return engine.containers.logs(id, lines).catch(() => []);
}

async function endedTooEarly({ engine, id, manifest, exited }: Started): Promise<PyisolateError> {
  return deathError({
    pack: manifest.name,
    phase: "starting",
    exit: await exited,
    limits: { max_memory: manifest.maxMemoryBytes },
    logTail: await readLogTail(engine, id, logTailLines),
  });
}

async function startTimeout({ engine, id, manifest }: Started, startupTimeoutMs: number): Promise<PyisolateError> {
  return new PyisolateError(
    "PACK_START_TIMEOUT",
    `pack "${manifest.name}" did not say hello within ${startupTimeoutMs} ms`,
    {
      logTail: await readLogTail(engine, id, logTailLines),
      next: "Look at the log lines; a slow machine can be given a longer startupTimeoutMs.",
    },
  );
}

function refuseIfAborted(manifest: Manifest, signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelled(manifest, signal.reason);
}

function cancelled(manifest: Manifest, reason: unknown): PyisolateError {
  return new PyisolateError("CALL_CANCELLED", `starting pack "${manifest.name}" was cancelled`, {}, reason);
}

// Loading: image → container → hello → the pack imported. Whatever fails on the way, nothing is left behind.

import { type RunningContainer, startContainer } from "../container/container.ts";
import type { OwnerDirectory } from "../container/rundir.ts";
import type { Engine } from "../engine/engine.ts";
import { isPyisolateError, PyisolateError } from "../errors.ts";
import type { EnsuredImage } from "../image/ensure.ts";
import type { BuildProgress } from "../image/progress.ts";
import { Peer } from "../rpc/peer.ts";
import { SocketTransport } from "../rpc/transport.ts";
import type { Value } from "../rpc/values.ts";
import { writeSchemas } from "../store/schemas.ts";
import { logTailLines } from "../supervisor/death.ts";
import { discard, explainDeath } from "./death.ts";
import { Extension } from "./extension.ts";
import type { SharedMemory } from "./memory.ts";
import type { Pack } from "./pack.ts";
import { formatLoadedPack, readLoadedPack } from "./schema.ts";

const defaultStartupTimeoutMs = 60_000;
const defaultLoadTimeoutMs = 300_000;

export interface LoadOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (event: BuildProgress) => void;
  /** Milliseconds from the container's start to its worker's hello; default 60 000. */
  readonly startupTimeoutMs?: number;
  /** Milliseconds for the pack's module to import; default 300 000. */
  readonly loadTimeoutMs?: number;
  /** Milliseconds a node may go on after its call was cancelled or timed out, before its pack is ended; default 5000. */
  readonly cancelGraceMs?: number;
}

export interface StartContext {
  readonly engine: Engine;
  readonly image: EnsuredImage;
  readonly owner: OwnerDirectory;
  readonly memory: SharedMemory;
  readonly stateDirectory: string;
}

/** Raises what startContainer raises, PACK_START_FAILED, PACK_START_TIMEOUT, PACK_LOAD_FAILED, CALL_CANCELLED. */
export async function startExtension(pack: Pack, context: StartContext, options: LoadOptions): Promise<Extension> {
  const { manifest } = pack;
  const startupTimeoutMs = options.startupTimeoutMs ?? defaultStartupTimeoutMs;
  const deadlineMs = performance.now() + startupTimeoutMs;
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  const container = await startContainer(
    context.engine,
    {
      image: context.image.reference,
      manifest,
      owner: context.owner,
      segments: context.memory.routeOf(pack),
      peerUid: context.memory.peerUid,
    },
    { startupTimeoutMs, ...signal },
  );
  const tensors = context.memory.connect(pack, container, (error) => peer.fail(error));
  const { methods, features } = tensors;
  const peer: Peer = new Peer({
    transport: new SocketTransport(container.connection),
    extension: tensors,
    methods,
    features,
    stuckMs: options.cancelGraceMs,
  });
  tensors.bind(peer);
  try {
    await hello(peer, pack, startupTimeoutMs, deadlineMs - performance.now(), options.signal);
    const answer = await peer.call("load", [{ share_torch: manifest.shareTorch }], {
      timeoutMs: options.loadTimeoutMs ?? defaultLoadTimeoutMs,
      ...signal,
    });
    const loaded = readLoadedPack(answer);
    await keepSchemas(answer, context, options);
    return new Extension(manifest, loaded, container, peer);
  } catch (error) {
    const told = await explainFailure(error, pack, container);
    peer.close();
    throw told;
  }
}

/** Waits for the worker's hello. A worker that dials in and then says nothing must not hold anybody up. */
async function hello(
  peer: Peer,
  { manifest }: Pack,
  timeoutMs: number,
  remainingMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const settled = new AbortController();
  const impatience = new Promise<never>((_resolve, reject) => {
    const timer = setTimeout(() => {
      const message = `pack "${manifest.name}" did not say hello within ${timeoutMs} ms`;
      reject(new PyisolateError("PACK_START_TIMEOUT", message, { next: "Look at the log lines." }));
    }, remainingMs);
    const cancel = () => reject(cancelledError(manifest.name, signal?.reason));
    if (signal?.aborted) cancel();
    signal?.addEventListener("abort", cancel, { signal: settled.signal });
    settled.signal.addEventListener("abort", () => clearTimeout(timer));
  });
  try {
    await Promise.race([peer.ready, impatience]);
  } finally {
    settled.abort();
  }
}

/** For `inspect`, which starts nothing. A store that cannot be written is worth a line, not a failure. */
async function keepSchemas(answer: Value, context: StartContext, options: LoadOptions): Promise<void> {
  const text = formatLoadedPack(answer);
  if (text === undefined) return;
  try {
    await writeSchemas(context.stateDirectory, context.image.digest, text);
  } catch (error) {
    const note = `node schemas could not be kept in ${context.stateDirectory}: ${(error as Error).message}`;
    options.onProgress?.({ type: "note", link: "runtime", text: note });
  }
}

/** The error to raise; the container is removed. Never rejects. */
async function explainFailure(error: unknown, { manifest }: Pack, container: RunningContainer): Promise<unknown> {
  if (!isPyisolateError(error)) {
    await container.stop({ graceMs: 0 }).catch(() => undefined); // what is no error of ours is a bug, and says more
    return error;
  }
  const { name } = manifest;
  switch (error.code) {
    case "PEER_BROKEN":
    case "PEER_CLOSED":
    case "PROTOCOL_VIOLATION":
    case "PROTOCOL_MISMATCH":
      return explainDeath({ manifest, container, phase: "loading", nodeIds: [], reason: error });
    case "CALL_TIMEOUT":
    case "PACK_START_TIMEOUT": {
      const isImport = error.code === "CALL_TIMEOUT";
      const message = isImport ? `pack "${name}" did not load in time: ${error.message}` : error.message;
      const option = isImport ? "loadTimeoutMs" : "startupTimeoutMs";
      const next = `Look at the log lines; a pack that needs longer can be given ${option}.`;
      const logTail = await container.logTail(logTailLines);
      return discard(container, new PyisolateError("PACK_START_TIMEOUT", message, { logTail, next }));
    }
    case "CALL_CANCELLED":
      return discard(container, cancelledError(name, error));
    case "PACK_LOAD_FAILED": {
      const message = `pack "${name}" cannot be imported: ${error.message}`;
      const details = { ...error.details, next: error.details.next ?? loadAdvice(error) };
      return discard(container, new PyisolateError("PACK_LOAD_FAILED", message, details, error));
    }
    default:
      return discard(container, error);
  }
}

function cancelledError(name: string, cause: unknown): PyisolateError {
  return new PyisolateError(
    "CALL_CANCELLED",
    `loading pack "${name}" was cancelled`,
    { next: "Load it again when you want it." },
    cause,
  );
}

function loadAdvice(error: PyisolateError): string {
  const missing = /No module named '([^'.]+)/.exec(error.message)?.[1];
  if (missing === undefined) return "The traceback shows the line of the pack that raised.";
  return `If ${missing} comes from a package, add that package to dependencies in manifest.yaml.`;
}

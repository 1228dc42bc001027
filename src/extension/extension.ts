// Extension: one loaded pack. Owns its container and its peer; when either ends, the pack is dead for good
// and every call, running or to come, gets the error that says why.

import type { RunningContainer } from "../container/container.ts";
import { type ErrorCode, isPyisolateError, PyisolateError } from "../errors.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { nearestHint } from "../manifest/text.ts";
import type { CallOptions, Peer, Transfer } from "../rpc/peer.ts";
import type { Value } from "../rpc/values.ts";
import { logTailLines, unresponsiveError } from "../supervisor/death.ts";
import { discard, explainDeath } from "./death.ts";
import { type NodeInputs, prepareInputs } from "./inputs.ts";
import { type LoadedPack, list, type NodeSchema, record } from "./schema.ts";

/** Milliseconds a worker has to end by itself after `stop`, before its container is killed. */
const stopGraceMs = 2000;

/** Errors after which nothing more comes from the worker. The peer makes them itself: no worker can send their codes. */
const lostCodes: ReadonlySet<ErrorCode> = new Set([
  "PEER_BROKEN",
  "PEER_CLOSED",
  "PROTOCOL_VIOLATION",
  "PROTOCOL_MISMATCH",
]);

export interface ExecuteOptions {
  /** Milliseconds, above 0; Infinity: no limit. Default: the manifest's timeout. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: NodeProgress) => void;
}

export interface NodeProgress {
  readonly value: number;
  readonly total: number;
}

export interface NodeResult {
  /** What the node returned, in the order of its declared outputs. Tensors belong to the caller. */
  readonly outputs: readonly Value[];
  /** What the node shows in a user interface; null when nothing. */
  readonly ui: Value;
  /** Tensor bytes that were copied to bring the node its inputs. */
  readonly bytesCopied: number;
  /** How the input tensors travelled: "descriptor", "path", "inline", several joined by "+"; "none" when there were none. */
  readonly route: string;
}

/** Errors of a call that get the node's name and, unless the worker gave one, this next step. */
const nextSteps: Partial<Record<ErrorCode, string>> = {
  NODE_FAILED: "The traceback shows the line of the pack that raised.",
  CALL_TIMEOUT: "Give the call a longer timeoutMs, or the pack a longer timeout in its manifest.",
  CALL_CANCELLED: "Call it again when you want its result.",
  VALUE_UNSUPPORTED: "Return and give only what docs/protocol.md lists: plain data, tensors, bytes.",
  TENSOR_INVALID: "Check the tensor's dtype and shape.",
};

/** Timers end here, 24 days on; a longer limit is none. */
const maxTimeoutMs = 2 ** 31 - 1;

export class Extension {
  readonly name: string;
  readonly manifest: Manifest;
  /** The pack's Python and its installed packages, as the pack itself reports them. */
  readonly python: string;
  readonly packages: Readonly<Record<string, string>>;
  /** Resolves, never rejects, when the pack has ended: PACK_STOPPED after `stop`, else why it died. */
  readonly closed: Promise<PyisolateError>;
  readonly #schemas: ReadonlyMap<string, NodeSchema>;
  readonly #container: RunningContainer;
  readonly #peer: Peer;
  /** One entry per running call. */
  readonly #calls = new Set<{ readonly nodeId: string }>();
  #stopping: Promise<void> | undefined;
  /** Set once, when the worker is gone: the error for everything that still wants something from it. */
  #death: Promise<PyisolateError> | undefined;

  /** Takes ownership of container and peer. Made by load.ts only. */
  constructor(manifest: Manifest, pack: LoadedPack, container: RunningContainer, peer: Peer) {
    this.name = manifest.name;
    this.manifest = manifest;
    this.python = pack.python;
    this.packages = pack.packages;
    this.#schemas = pack.schemas;
    this.#container = container;
    this.#peer = peer;
    this.closed = peer.closed.then((reason) => this.#die(reason));
  }

  /** Limits in force, read from the kernel: bytes, percent of one core, processes and threads. */
  get limits(): RunningContainer["limits"] {
    return this.#container.limits;
  }

  get nodeIds(): readonly string[] {
    return [...this.#schemas.keys()];
  }

  /** Raises NODE_UNKNOWN, naming the nearest id. */
  nodeSchema(id: string): NodeSchema {
    const schema = this.#schemas.get(id);
    if (schema !== undefined) return schema;
    throw new PyisolateError(
      "NODE_UNKNOWN",
      `pack "${this.name}" has no node "${id}": ${nearestHint(id, this.nodeIds, "node")}`,
      { next: `Its nodes: ${this.nodeIds.join(", ") || "none"}.` },
    );
  }

  /**
   * Runs one node and gives what it returns. Inputs are borrowed: tensors must not change until this settles.
   * Raises NODE_UNKNOWN, INPUT_MISSING, INPUT_INVALID before anything is sent; NODE_FAILED when the node raises
   * (details.remote has its type and traceback); CALL_TIMEOUT, CALL_CANCELLED; PACK_DIED, PACK_OUT_OF_MEMORY, PACK_STOPPED;
   * PACK_UNRESPONSIVE when another node had to be ended by force.
   */
  async executeNode(id: string, inputs: NodeInputs = {}, options: ExecuteOptions = {}): Promise<NodeResult> {
    const prepared = prepareInputs(this.nodeSchema(id), inputs);
    requireTimeout(options.timeoutMs);
    if (this.#death !== undefined) throw await this.#death;
    const transfer: Transfer = { bytesCopied: 0, routes: [] };
    const call = { nodeId: id };
    this.#calls.add(call);
    try {
      const answer = await this.#peer.call("execute", [id, prepared], this.#callOptions(id, options, transfer));
      const result = record(answer, "execute");
      return {
        outputs: list(result.outputs, "execute.outputs"),
        ui: result.ui ?? null,
        bytesCopied: transfer.bytesCopied,
        route: transfer.routes.join("+") || "none",
      };
    } catch (error) {
      throw await this.#explain(error, id);
    } finally {
      this.#calls.delete(call);
    }
  }

  /**
   * Ends the pack and removes its container. Calls still running fail with PACK_STOPPED. Stopping twice is fine;
   * after a failure (the engine's errors) it may be tried again.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop().catch((error) => {
      this.#stopping = undefined;
      throw error;
    });
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    this.#death ??= Promise.resolve(stoppedError(this.name));
    this.#peer.stop();
    await this.#container.stop({ graceMs: stopGraceMs });
    this.#peer.close();
  }

  #callOptions(nodeId: string, options: ExecuteOptions, transfer: Transfer): CallOptions {
    const { timeoutMs: asked = this.manifest.timeoutMs, signal, onProgress } = options;
    const timeoutMs = asked === undefined || asked > maxTimeoutMs ? undefined : asked;
    const onEvent: CallOptions["onEvent"] = onProgress && ((name, data) => reportProgress(name, data, onProgress));
    return { transfer, timeoutMs, signal, onEvent, onStuck: (graceMs) => this.#endStuck(nodeId, graceMs) };
  }

  /** A node goes on although its call is over. Only the end of its process ends it; the other calls are told why. */
  #endStuck(nodeId: string, graceMs: number): void {
    if (this.#death !== undefined) return;
    this.#death = this.#container
      .logTail(logTailLines)
      .then((logTail) => discard(this.#container, unresponsiveError(this.name, nodeId, graceMs, logTail)));
    this.#peer.close();
  }

  /** What a caller is told: a lost worker's death instead of a lost connection; everything else with the node's name. */
  async #explain(error: unknown, nodeId: string): Promise<unknown> {
    if (!isPyisolateError(error)) return error;
    if (lostCodes.has(error.code)) return this.#die(error);
    const next = nextSteps[error.code];
    if (next === undefined) return error;
    const message = `node "${nodeId}" of pack "${this.name}": ${error.message}`;
    return new PyisolateError(error.code, message, { next, ...error.details }, error);
  }

  /** The worker is gone: finds out why, once. The container goes too, so that nothing of a dead pack is left. */
  #die(reason: PyisolateError | undefined): Promise<PyisolateError> {
    if (this.#death === undefined) {
      const nodeIds = [...this.#calls].map(({ nodeId }) => nodeId);
      const phase = nodeIds.length === 0 ? "idle" : "executing";
      this.#death = explainDeath({ manifest: this.manifest, container: this.#container, phase, nodeIds, reason });
      this.#peer.close();
    }
    return this.#death;
  }
}

function requireTimeout(timeoutMs: number | undefined): void {
  if (timeoutMs === undefined || timeoutMs > 0) return;
  throw new PyisolateError("USAGE", `timeoutMs must be a number above 0, got ${timeoutMs}`, {
    next: "Leave timeoutMs out to use the manifest's timeout; Infinity means no limit.",
  });
}

function reportProgress(name: string, data: Value, onProgress: (progress: NodeProgress) => void): void {
  if (name !== "progress" || data === null || typeof data !== "object") return;
  const { value, total } = data as Record<string, Value>;
  if (typeof value === "number" && typeof total === "number") onProgress({ value, total });
}

function stoppedError(name: string): PyisolateError {
  return new PyisolateError("PACK_STOPPED", `pack "${name}" was stopped by this program`, {
    next: "Load it again with loadExtension.",
  });
}

// A pack's connection with a worker that says whatever the test wants, for the tests of src/tensor.

import { mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { afterEach } from "vitest";
import type { PyisolateError } from "../../src/errors.ts";
import { Peer } from "../../src/rpc/peer.ts";
import { SocketTransport } from "../../src/rpc/transport.ts";
import type { ExtensionValue, Segment, Value, ValueExtension } from "../../src/rpc/values.ts";
import { HostTensors, type HostTensorsOptions, type PackOptions } from "../../src/tensor/host.ts";
import { loadNative, type Native } from "../../src/tensor/native.ts";
import type { PackTensors } from "../../src/tensor/pack.ts";
import type { Domain } from "../../src/tensor/segment.ts";
import { useSockets } from "./rpc-support.ts";

export const KiB = 1024;
export const MiB = 1024 * KiB;

/** koffi is a development dependency of these tests. */
export async function needNative(): Promise<Native> {
  const native = await loadNative();
  if (native === undefined) throw new Error("koffi is not installed");
  return native;
}

/** A tensor's text form as the worker got it, or is to send it. */
export class Said implements ExtensionValue {
  readonly wireTag = "$tensor";
  readonly payload: Record<string, unknown>;
  /** Ends the use of the host's lease. */
  readonly release: () => void;
  /** Of a sent one: its lease was released. */
  isReleased = false;

  constructor(payload: Record<string, unknown>, release: () => void = () => {}) {
    this.payload = payload;
    this.release = release;
  }

  get segment(): number {
    return this.payload.segment as number;
  }
}

export interface FakeWorker {
  readonly peer: Peer;
  /** All that was ever attached, by number. */
  readonly segments: Map<number, Segment>;
  readonly wantedBack: number[];
  /** Arguments of the calls of `take`, in order. */
  readonly taken: Value[];
  /** What `give` returns. */
  gift: Value;
  /** Whether segments that are wanted back are released at once. */
  isHonest: boolean;
}

export interface Connected {
  readonly tensors: PackTensors;
  readonly peer: Peer;
  readonly worker: FakeWorker;
  /** The worker's end of the descriptor socket. */
  readonly descriptors: Socket | undefined;
  readonly violations: PyisolateError[];
  /** Ends the connection, as a worker that dies does. */
  kill(): Promise<void>;
}

export interface ConnectOptions extends Partial<Pick<PackOptions, "maxShmBytes" | "trustMemory">> {
  readonly domain?: Domain;
  readonly kind?: "descriptor" | "path" | "inline";
  readonly workerFeatures?: readonly string[];
}

/** To be called once in a test file. */
export function useTensors() {
  const { openSockets } = useSockets();
  const hosts: HostTensors[] = [];
  const directories: string[] = [];

  afterEach(() => {
    for (const host of hosts.splice(0)) host.close();
    for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
  });

  function makeHost(options: Partial<HostTensorsOptions> & Pick<HostTensorsOptions, "native">): HostTensors {
    const host = new HostTensors({
      totalBytes: 256 * MiB,
      keepBytes: 64 * MiB,
      idleMs: 10_000,
      waitMs: 200,
      ...options,
    });
    hosts.push(host);
    return host;
  }

  function makeDirectory(): string {
    const directory = mkdtempSync(join("/dev/shm", "pyisolate-test-"));
    directories.push(directory);
    return directory;
  }

  async function connect(host: HostTensors, options: ConnectOptions = {}): Promise<Connected & { directory: string }> {
    const { kind = "descriptor", domain = host.domain(), maxShmBytes = 64 * MiB, trustMemory = false } = options;
    const [mine, theirs] = await openSockets();
    const [sending, receiving] = kind === "descriptor" ? await openSockets() : [];
    const directory = kind === "path" ? makeDirectory() : "";
    const violations: PyisolateError[] = [];
    const route =
      kind === "descriptor"
        ? { kind, connection: sending as Socket }
        : kind === "path"
          ? { kind, directory }
          : { kind };
    const tensors = host.connect({
      pack: "pack",
      domain,
      maxShmBytes,
      trustMemory,
      route,
      onViolation: (error) => violations.push(error),
    });
    const { methods, features } = tensors;
    const peer = new Peer({ transport: new SocketTransport(mine), extension: tensors, methods, features });
    tensors.bind(peer);
    const worker = startWorker(theirs, options.workerFeatures ?? ["segments"]);
    await Promise.all([peer.ready, worker.peer.ready]);
    const kill = async () => {
      theirs.destroy();
      receiving?.destroy();
      await peer.closed;
    };
    return { tensors, peer, worker, descriptors: receiving, violations, kill, directory };
  }

  return { makeHost, makeDirectory, connect };
}

function startWorker(connection: Socket, features: readonly string[]): FakeWorker {
  const extension: ValueExtension = {
    encode: (value, sink) => {
      if (!(value instanceof Said)) return undefined;
      if (value.payload.lease !== "new") return { tag: "$tensor", payload: value.payload };
      const lease = sink.lease(() => {
        value.isReleased = true;
      });
      return { tag: "$tensor", payload: { ...value.payload, lease } };
    },
    decode: (tag, payload, source) => {
      if (tag !== "$tensor") return undefined;
      const fields = payload as Record<string, unknown>;
      if ("attachment" in fields) return new Said({ ...fields, data: source.take(fields.attachment) });
      return new Said(fields, source.hold(fields.lease));
    },
    onAttach: (id, segment) => {
      worker.segments.set(id, segment);
    },
    onGiveBack: (id) => {
      worker.wantedBack.push(id);
      if (worker.isHonest) worker.peer.release(id);
    },
  };
  const peer = new Peer({
    transport: new SocketTransport(connection),
    extension,
    features,
    methods: {
      take: (args) => {
        worker.taken.push(...args);
        return null;
      },
      give: () => worker.gift,
    },
    onStop: () => {},
  });
  const worker: FakeWorker = {
    peer,
    segments: new Map(),
    wantedBack: [],
    taken: [],
    gift: null,
    isHonest: true,
  };
  return worker;
}

/** Settles when `condition` holds; the test's own time limit is the end of it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

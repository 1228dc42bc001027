// The TypeScript host of the tensor suite, with native calls or without.

import { createHash } from "node:crypto";
import { readdirSync, readlinkSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { type RunningContainer, startContainer } from "../../../src/container/container.ts";
import type { OwnerDirectory } from "../../../src/container/rundir.ts";
import type { Engine } from "../../../src/engine/engine.ts";
import type { Manifest } from "../../../src/manifest/manifest.ts";
import { Peer, type Transfer } from "../../../src/rpc/peer.ts";
import { SocketTransport } from "../../../src/rpc/transport.ts";
import type { Value } from "../../../src/rpc/values.ts";
import type { Dtype } from "../../../src/tensor/dtype.ts";
import { HostTensors } from "../../../src/tensor/host.ts";
import { checkShape } from "../../../src/tensor/layout.ts";
import { loadNative } from "../../../src/tensor/native.ts";
import { Tensor } from "../../../src/tensor/tensor.ts";
import { type Host, type Job, type Outcome, type Route, ramp } from "./host.ts";

export interface Place {
  readonly engine: Engine;
  readonly owner: OwnerDirectory;
  readonly image: string;
  readonly manifest: Manifest;
}

export async function startTypeScriptHost(place: Place, route: Route, hasNative: boolean): Promise<Host> {
  const native = hasNative ? await loadNative() : undefined;
  const tensors = new HostTensors({ native, totalBytes: 2 ** 30, keepBytes: 2 ** 26, idleMs: 10_000 });
  const segments = route === "path" ? "mounted" : route === "inline" ? "none" : "descriptor";
  const container = await startContainer(place.engine, { ...place, segments }, { startupTimeoutMs: 60_000 });
  const pack = tensors.connect({
    pack: place.manifest.name,
    domain: tensors.domain(),
    maxShmBytes: place.manifest.maxShmBytes,
    trustMemory: false,
    route: routeOf(container),
  });
  const peer = new Peer({
    transport: new SocketTransport(container.connection),
    extension: pack,
    methods: pack.methods,
    features: pack.features,
  });
  pack.bind(peer);
  void peer.closed.then(() => pack.close());
  await peer.ready;
  await peer.call("load", [{ share_torch: false }]);
  return {
    run: (job) => run(tensors, peer, job),
    bytesInUse: async () => {
      await collectGarbage();
      const { bytes, warmBytes } = tensors.stats();
      return bytes - warmBytes;
    },
    close: async () => {
      await container.stop({ graceMs: 0 });
      peer.close();
      await collectGarbage();
      tensors.close();
      await collectGarbage();
      return leftovers();
    },
  };
}

function routeOf({ segmentsConnection, segmentsDirectory }: RunningContainer) {
  if (segmentsConnection !== undefined) return { kind: "descriptor" as const, connection: segmentsConnection };
  if (segmentsDirectory !== undefined) return { kind: "path" as const, directory: segmentsDirectory };
  return { kind: "inline" as const };
}

async function run(tensors: HostTensors, peer: Peer, job: Job): Promise<Outcome> {
  const dtype = job.dtype as Dtype;
  const bytes = ramp(dtype, checkShape(dtype, job.shape));
  const x = job.isShared === true ? await tensors.empty(dtype, job.shape) : new Tensor(dtype, job.shape, bytes);
  if (job.isShared === true) x.data.set(bytes);
  const transfer: Transfer = { bytesCopied: 0, routes: [] };
  const answer = (await peer.call("execute", [job.node, { x }], { transfer, timeoutMs: 60_000 })) as {
    outputs: Value[];
  };
  const output = answer.outputs[0] as Value;
  const outcome = {
    output: output instanceof Tensor ? describe(output) : output,
    bytesCopied: transfer.bytesCopied,
    route: transfer.routes.join("+"),
    inputAfter: sha256(x.data),
  };
  if (output instanceof Tensor) output.release();
  x.release();
  return outcome;
}

function describe(tensor: Tensor) {
  return { dtype: tensor.dtype, shape: tensor.shape, sha256: sha256(tensor.data) };
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Releases of the worker are under way for a moment after its answer. */
async function collectGarbage(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) {
    globalThis.gc?.();
    await delay(20);
  }
}

/** Descriptors and mappings of shared memory of this process. */
function leftovers(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.includes("memfd:pyisolate") || target.startsWith("/dev/shm/pyisolate") ? [target] : [];
    } catch {
      return [];
    }
  });
}

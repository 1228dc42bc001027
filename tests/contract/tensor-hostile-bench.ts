// What the tests of hostile packs share: hosts, whole or weakened, containers of tensor-hostile-pack on them, and the
// check that nothing is left of either.

import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type RunningContainer, startContainer } from "../../src/container/container.ts";
import { createOwnerDirectory } from "../../src/container/rundir.ts";
import { connectEngine } from "../../src/engine/docker.ts";
import { ExtensionManager } from "../../src/index.ts";
import { Peer } from "../../src/rpc/peer.ts";
import { SocketTransport } from "../../src/rpc/transport.ts";
import type { Value } from "../../src/rpc/values.ts";
import { garbageCollector } from "../../src/tensor/garbage.ts";
import { HostTensors } from "../../src/tensor/host.ts";
import { loadNative, type Native } from "../../src/tensor/native.ts";
import type { Domain } from "../../src/tensor/segment.ts";
import { Tensor } from "../../src/tensor/tensor.ts";

export const MiB = 2 ** 20;
export const hostilePack = join(import.meta.dirname, "tensor-hostile-pack");

export interface HostilePack {
  readonly peer: Peer;
  readonly container: RunningContainer;
  readonly isEnded: boolean;
  /** The value of a Python expression, evaluated in the pack. */
  run(code: string, x?: Value): Promise<Value>;
  stop(): Promise<void>;
}

interface PackChoice {
  readonly name?: string;
  readonly domain?: Domain;
  readonly route?: "descriptor" | "path";
  readonly trustMemory?: boolean;
}

export interface HostileBench {
  /** Directory that holds the run directories of the packs. */
  readonly ownerDirectory: string;
  /** `native`: for controls, one that protects less. */
  host(choice?: { readonly totalBytes?: number; readonly native?: Native }): Promise<HostTensors>;
  start(host: HostTensors, choice?: PackChoice): Promise<HostilePack>;
  /** Ends all packs and hosts; gives the containers, files, descriptors and mappings that are left. */
  sweep(): Promise<string[]>;
  close(): Promise<void>;
}

export async function openHostileBench(): Promise<HostileBench> {
  const engine = await connectEngine({ dockerHost: process.env.DOCKER_HOST });
  const manager = new ExtensionManager();
  const { image, manifest } = await manager.ensureImage(hostilePack);
  await manager.stop();
  const scratch = mkdtempSync(join(tmpdir(), "pi-"));
  const owner = await createOwnerDirectory(join(scratch, "run"));
  const packs = new Set<HostilePack>();
  const hosts = new Set<HostTensors>();

  async function host({ totalBytes = 128 * MiB, native }: Parameters<HostileBench["host"]>[0] = {}) {
    const options = { native: native ?? (await needNative()), totalBytes, keepBytes: 32 * MiB, idleMs: 60_000 };
    const made = new HostTensors({ ...options, waitMs: 300 });
    hosts.add(made);
    return made;
  }

  async function start(tensors: HostTensors, choice: PackChoice = {}): Promise<HostilePack> {
    const { name = "hostile", domain = tensors.domain(), route = "descriptor", trustMemory = false } = choice;
    const segments = route === "path" ? "mounted" : "descriptor";
    const request = { image: image.reference, manifest, owner, segments } as const;
    const container = await startContainer(engine, request, { startupTimeoutMs: 60_000 });
    const { segmentsConnection, segmentsDirectory } = container;
    const extension = tensors.connect({
      pack: name,
      domain,
      maxShmBytes: manifest.maxShmBytes,
      trustMemory,
      route:
        segmentsConnection === undefined
          ? { kind: "path", directory: segmentsDirectory as string }
          : { kind: "descriptor", connection: segmentsConnection },
      onViolation: (error) => peer.fail(error),
    });
    const { methods, features } = extension;
    const peer: Peer = new Peer({ transport: new SocketTransport(container.connection), extension, methods, features });
    extension.bind(peer);
    let isEnded = false;
    void peer.closed.then(() => {
      isEnded = true;
    });
    await peer.ready;
    await peer.call("load", [{ share_torch: false }]);
    const pack: HostilePack = {
      peer,
      container,
      get isEnded() {
        return isEnded;
      },
      run: async (code, x = null) => {
        const answer = await peer.call("execute", ["Run", { code, x }], { timeoutMs: 60_000 });
        return (answer as { outputs: Value[] }).outputs[0] as Value;
      },
      stop: async () => {
        packs.delete(pack);
        peer.close();
        await container.stop({ graceMs: 0 });
      },
    };
    packs.add(pack);
    return pack;
  }

  async function sweep(): Promise<string[]> {
    await Promise.all([...packs].map((pack) => pack.stop()));
    for (const each of hosts) each.close();
    hosts.clear();
    for (let turn = 0; turn < 50 && sharedMemory().length > 0; turn += 1) await collectGarbage();
    const containers = await engine.containers.list({ "pyisolate.owner": owner.path });
    const directories = readdirSync("/dev/shm").filter((name) => name.includes(basename(owner.path)));
    const files = readdirSync(owner.path).filter((name) => name !== "owner.sock");
    return [...containers.map(({ id }) => id), ...files, ...directories, ...sharedMemory()];
  }

  async function close(): Promise<void> {
    await owner.close();
    rmSync(scratch, { recursive: true });
  }

  return { ownerDirectory: owner.path, host, start, sweep, close };
}

async function needNative(): Promise<Native> {
  const native = await loadNative();
  if (native === undefined) throw new Error("koffi is not installed");
  return native;
}

/** A native whose memory files have these seals only. */
export async function nativeWithSeals(keep: number): Promise<Native> {
  const native = await needNative();
  return new Proxy(native, {
    get: (target, key) => {
      if (key === "seal") return (descriptor: number, seals: number) => target.seal(descriptor, seals & keep);
      const member: unknown = Reflect.get(target, key);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

/** Above what travels inline, all bytes the same. */
export function ordinary(fill: number, nbytes = MiB): Tensor {
  return new Tensor("uint8", [nbytes], new Uint8Array(nbytes).fill(fill));
}

/** As `digest` of the pack. */
export function digest(value: Value): string {
  return createHash("sha256")
    .update((value as Tensor).data)
    .digest("hex");
}

const collect = garbageCollector();

/** What nobody refers to any more lets go of its memory. */
async function collectGarbage(): Promise<void> {
  collect();
  await delay(20);
}

function sharedMemory(): string[] {
  const open = readdirSync("/proc/self/fd").flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/self/fd/${descriptor}`)];
    } catch {
      return [];
    }
  });
  return open.filter((target) => target.includes("memfd:pyisolate") || target.startsWith("/dev/shm/pyisolate"));
}

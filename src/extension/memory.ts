// Memory: what the extensions of one program share with their packs: one pool, and a domain per group of the policy.
// Must not know nodes.

import type { Socket } from "node:net";
import type { RunningContainer } from "../container/container.ts";
import type { SegmentsRoute } from "../container/segments.ts";
import type { PyisolateError } from "../errors.ts";
import { HostTensors } from "../tensor/host.ts";
import { descriptorOf, loadNative, type Native } from "../tensor/native.ts";
import type { PackTensors } from "../tensor/pack.ts";
import type { Domain } from "../tensor/segment.ts";
import { type Pack, type PackSharing, readPolicy } from "./pack.ts";
import type { Settings } from "./settings.ts";

/** Bytes of shared memory that no tensor lies in, kept for the next one. Beyond it, and after `idleMs`, it goes back. */
const keepBytes = 256 * 1024 * 1024;
const idleMs = 10_000;

export class SharedMemory {
  readonly tensors: HostTensors;
  readonly #native: Native | undefined;
  readonly #domains = new Map<string, Domain>();

  private constructor(tensors: HostTensors, native: Native | undefined) {
    this.tensors = tensors;
    this.#native = native;
  }

  /** All packs may have together what the policy says, or a quarter of the machine's memory. Raises POLICY_INVALID. */
  static async open(settings: Settings): Promise<SharedMemory> {
    const [native, { totals }] = await Promise.all([loadNative(), readPolicy(settings)]);
    const totalBytes = totals.shmBytes ?? Math.floor(settings.machine.memoryBytes / 4);
    return new SharedMemory(new HostTensors({ native, totalBytes, keepBytes, idleMs }), native);
  }

  /**
   * How memory is to be shared with a pack: by descriptor, unless the policy or a missing koffi says otherwise.
   * A pack with a writable mount runs as this user, so it could change files of ours in a mounted directory: none.
   */
  routeOf({ manifest, sharing }: Pack): SegmentsRoute {
    if (sharing.segments === "descriptor" && this.#native !== undefined) return "descriptor";
    return manifest.mounts.some((mount) => mount.write) ? "none" : "mounted";
  }

  /** Tells who dialled a socket of ours; undefined where that takes calls that are missing here. */
  get peerUid(): ((connection: Socket) => number | undefined) | undefined {
    const native = this.#native;
    if (native === undefined) return undefined;
    return (connection) => {
      const descriptor = descriptorOf(connection);
      return descriptor === undefined ? undefined : native.peerUid(descriptor);
    };
  }

  /**
   * What carries the tensors of one running pack, until its connection ends.
   * `onViolation`: the worker broke the rules of the descriptor socket.
   */
  connect(
    { manifest, sharing }: Pack,
    container: RunningContainer,
    onViolation: (error: PyisolateError) => void,
  ): PackTensors {
    const { segmentsConnection, segmentsDirectory } = container;
    return this.tensors.connect({
      pack: manifest.name,
      domain: this.#domainOf(sharing),
      maxShmBytes: manifest.maxShmBytes,
      trustMemory: sharing.trustMemory,
      onViolation,
      route:
        segmentsConnection !== undefined
          ? { kind: "descriptor", connection: segmentsConnection }
          : segmentsDirectory !== undefined
            ? { kind: "path", directory: segmentsDirectory }
            : { kind: "inline" },
    });
  }

  #domainOf({ group }: PackSharing): Domain {
    if (group === undefined) return this.tensors.domain();
    const key = JSON.stringify(group);
    const known = this.#domains.get(key) ?? this.tensors.domain();
    this.#domains.set(key, known);
    return known;
  }
}

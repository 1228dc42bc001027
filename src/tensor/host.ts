// Host: the tensors of a program that has packs, its pool of segments, and what comes and goes on each connection.
// Nothing that a worker says is believed: all it names is looked up in our own records. Must not know Docker.

import type { Socket } from "node:net";
import { PyisolateError } from "../errors.ts";
import type { Dtype } from "./dtype.ts";
import { garbageCollector } from "./garbage.ts";
import { checkShape, cStrides } from "./layout.ts";
import type { Holding } from "./lease.ts";
import type { Native } from "./native.ts";
import { PackTensors } from "./pack.ts";
import { INLINE_BYTES } from "./payload.ts";
import { Pool, type PoolStats } from "./pool.ts";
import { DescriptorRoute, PathRoute, type Route } from "./route.ts";
import { Domain, MemorySegment, type Segment } from "./segment.ts";
import { SegmentMemory, type SnapshotRoom } from "./snapshot.ts";
import { Memory, newBytes, Tensor } from "./tensor.ts";

const WAIT_MS = 5_000;

export interface HostTensorsOptions {
  /** undefined: no memory can be shared by descriptor. */
  readonly native: Native | undefined;
  /** Of all shared memory of this program. */
  readonly totalBytes: number;
  /** Of shared memory that no tensor lies in and that is kept for the next one. */
  readonly keepBytes: number;
  /** Shared memory that no tensor lies in for this long is given back in any case. */
  readonly idleMs: number;
  /** How long a tensor waits for memory that others release; 5 s unless given. */
  readonly waitMs?: number;
}

/** How the memory of a pack's tensors gets there. */
type PackRoute =
  /** Owns the connection. */
  | { readonly kind: "descriptor"; readonly connection: Socket }
  /** A directory of /dev/shm that is mounted into the container. Borrowed: files are made and removed in it. */
  | { readonly kind: "path"; readonly directory: string }
  | { readonly kind: "inline" };

export interface PackOptions {
  /** The pack's name, for messages. */
  readonly pack: string;
  readonly domain: Domain;
  /** Of all segments that the pack writes. */
  readonly maxShmBytes: number;
  /** Host code looks at the pack's tensors where they lie. */
  readonly trustMemory: boolean;
  readonly route: PackRoute;
  /** Called once when the worker sends a byte on the descriptor socket or takes nothing from it: it is hostile or broken. */
  readonly onViolation?: ((error: PyisolateError) => void) | undefined;
}

export interface TensorStats extends PoolStats {
  /** Of tensors of packs that host code has looked at. */
  readonly snapshotBytes: number;
}

/** One per program. */
export class HostTensors implements SnapshotRoom {
  readonly #native: Native | undefined;
  readonly #pool: Pool;
  #snapshotBytes = 0;
  #fileCount = 0;

  constructor(options: HostTensorsOptions) {
    const { native, totalBytes, keepBytes, idleMs, waitMs = WAIT_MS } = options;
    this.#native = native;
    this.#pool = new Pool({ totalBytes, keepBytes, idleMs, waitMs, collectGarbage: garbageCollector() });
  }

  /** A new one: its packs read each other's tensors where they lie. */
  domain(): Domain {
    return new Domain();
  }

  /**
   * A tensor to be written by host code; the caller owns it. It reaches the packs of the first domain it is sent to
   * without a copy. With `domain` those are named at once, and warm memory of theirs is used, whose old content shows.
   * Rejects with TENSOR_INVALID, SHARED_MEMORY_EXHAUSTED.
   */
  async empty(dtype: Dtype, shape: readonly number[], domain?: Domain): Promise<Tensor> {
    const nbytes = checkShape(dtype, shape);
    const strides = cStrides(shape);
    if (this.#native === undefined || nbytes <= INLINE_BYTES) {
      return Tensor.over(dtype, shape, { memory: new Memory(newBytes(nbytes)), offset: 0, strides });
    }
    let holding: Holding<Segment> | undefined;
    while (holding === undefined) {
      await this.#pool.reserve("descriptor", domain, [nbytes], this.#maker(domain));
      holding = this.#pool.take("descriptor", domain, nbytes, 0);
    }
    return Tensor.over(dtype, shape, { memory: new SegmentMemory(holding, 0, nbytes, this), offset: 0, strides });
  }

  /** The tensors of one connection to a worker. Raises ISOLATION_UNAVAILABLE when the route cannot be taken here. */
  connect(options: PackOptions): PackTensors {
    const { pack, domain, maxShmBytes, trustMemory } = options;
    const route = this.#openRoute(options);
    return new PackTensors({ pack, domain, maxShmBytes, trustMemory, route, pool: this.#pool, room: this });
  }

  #openRoute({ pack, route, onViolation = () => {} }: PackOptions): Route | undefined {
    if (route.kind === "inline") return undefined;
    if (route.kind === "path") return new PathRoute(route.directory, () => `segment-${++this.#fileCount}`);
    if (this.#native !== undefined) return new DescriptorRoute(this.#native, route.connection, onViolation);
    throw new PyisolateError("ISOLATION_UNAVAILABLE", `"${pack}" cannot share memory by descriptor: koffi is missing`, {
      next: "Install the optional dependency koffi, or set segments: mounted in the policy.",
    });
  }

  /** Best is memory that no pack has seen: it goes to any one without a copy. */
  takeForSnapshot(domain: Domain | undefined, nbytes: number): Holding<Segment> | undefined {
    if (this.#native === undefined || !this.#pool.hasEase(nbytes)) return undefined;
    const taken =
      this.#pool.take("descriptor", undefined, nbytes, nbytes) ?? this.#pool.take("descriptor", domain, nbytes, nbytes);
    if (taken === undefined) this.#warm(nbytes);
    return taken;
  }

  snapshotMade(nbytes: number): void {
    this.#snapshotBytes += nbytes;
  }

  /** So that the next snapshot finds one. */
  #warm(nbytes: number): void {
    this.#pool.reserve("descriptor", undefined, [nbytes], this.#maker(undefined))?.catch(() => {}); // else ordinary memory
  }

  #maker(domain: Domain | undefined): (nbytes: number) => Promise<Segment> {
    return (nbytes) => MemorySegment.make(this.#native as Native, nbytes, undefined, domain);
  }

  stats(): TensorStats {
    return { ...this.#pool.stats(), snapshotBytes: this.#snapshotBytes };
  }

  /** Gives all memory back, that of tensors in use as soon as they are released. Connections must have ended. */
  close(): void {
    this.#pool.close();
  }
}

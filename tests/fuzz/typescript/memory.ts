// Memory: the tensors of a fuzzed session. On a host's side the real PackTensors, over segments of ordinary memory.
// Mirrors python/memory.py.

import { violation } from "../../../src/rpc/frame.ts";
import type { Peer } from "../../../src/rpc/peer.ts";
import type { Session } from "../../../src/rpc/session.ts";
import type {
  ExtensionValue,
  Segment as SegmentOfPeer,
  Value,
  ValueExtension,
  ValueSink,
  ValueSource,
} from "../../../src/rpc/values.ts";
import { inlineTensors } from "../../../src/tensor/inline.ts";
import { PackTensors } from "../../../src/tensor/pack.ts";
import { checkPlace, isPlace, readPlace } from "../../../src/tensor/payload.ts";
import { Pool } from "../../../src/tensor/pool.ts";
import type { Route } from "../../../src/tensor/route.ts";
import { Domain, Segment } from "../../../src/tensor/segment.ts";
import { SegmentMemory } from "../../../src/tensor/snapshot.ts";
import { Tensor } from "../../../src/tensor/tensor.ts";

export interface Extension extends ValueExtension {
  /** To be called before anything is received. */
  bind(session: Session<object>): void;
  /** Arguments of the first call. */
  gifts(): Value[];
  /** Looks at the tensors of a value as a program would. */
  look(value: Value): void;
  close(): void;
}

const segmentBytes = 128 * 1024;
/** Of the memory file that the Python target maps for every segment. */
const maxWorkerBytes = 8 * segmentBytes;
/** A view may repeat one element without end; nobody copies that. */
const maxLookedAtBytes = 256 * 1024;

class PlainSegment extends Segment {
  readonly route = "descriptor";
  readonly isOpen: boolean;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array, writer: PackTensors | undefined, domain: Domain) {
    super(bytes.byteLength, writer, domain);
    this.isOpen = writer === undefined;
    this.#bytes = bytes;
  }

  write(bytes: Uint8Array): void {
    this.#bytes.set(bytes);
  }

  lend(start: number, nbytes: number): Uint8Array {
    return this.peek(start, nbytes);
  }

  peek(start: number, nbytes: number): Uint8Array {
    if (start < 0 || start + nbytes > this.nbytes) throw new Error(`${nbytes} bytes at ${start} of ${this.nbytes}`);
    return this.#bytes.subarray(start, start + nbytes);
  }

  clear(): void {
    this.#bytes.fill(0);
  }

  close(): void {}
}

/** What all inputs write into: its content is nobody's business. */
const toPack = new Uint8Array(segmentBytes);
const fromPack = new Uint8Array(segmentBytes);
const room = { takeForSnapshot: () => undefined, snapshotMade: () => {} };
const route: Route = {
  name: "descriptor",
  make: () => Promise.reject(new Error("nobody asks for a segment")),
  show: () => true,
  pathOf: () => undefined,
  send: () => {},
  hide: () => true,
  close: () => {},
};
const never = new Promise<undefined>(() => {});

/** A host's side. Its first call brings a tensor in a segment that the host writes, and one that the pack writes. */
export class HostMemory implements Extension {
  readonly #pool: Pool;
  readonly #domain = new Domain();
  readonly #tensors: PackTensors;
  /** All there were; no garbage collector comes by while inputs are run. */
  readonly #made: Tensor[] = [];

  constructor() {
    const limits = { totalBytes: 1e9, keepBytes: 1e9, idleMs: 1e9, waitMs: 0 };
    this.#pool = new Pool({ ...limits, collectGarbage: () => {} });
    this.#tensors = new PackTensors({
      pack: "fuzz",
      domain: this.#domain,
      maxShmBytes: 1e9,
      trustMemory: false,
      pool: this.#pool,
      room,
      route,
    });
  }

  bind(session: Session<object>): void {
    const peer: Partial<Peer> = {
      closed: never,
      hasFeature: (name) => session.hasFeature(name),
      attach: (segment, onReleased) => session.attach(segment, onReleased),
      giveBack: (id) => session.giveBack(id),
    };
    this.#tensors.bind(peer as Peer);
  }

  gifts(): Value[] {
    return [this.#gift(toPack, undefined), this.#gift(fromPack, this.#tensors)];
  }

  #gift(bytes: Uint8Array, writer: PackTensors | undefined): Tensor {
    const holding = this.#pool.hold(new PlainSegment(bytes, writer, this.#domain));
    const memory = new SegmentMemory(holding, 0, segmentBytes, room);
    return this.#keep(Tensor.over("uint8", [segmentBytes], { memory, offset: 0, strides: [1] }));
  }

  #keep(tensor: Tensor): Tensor {
    this.#made.push(tensor);
    return tensor;
  }

  encode(value: object, sink: ValueSink) {
    return this.#tensors.encode(value, sink);
  }

  decode(tag: string, payload: unknown, source: ValueSource): Tensor | undefined {
    const tensor = this.#tensors.decode(tag, payload, source);
    return tensor === undefined ? undefined : this.#keep(tensor);
  }

  look(): void {
    for (const tensor of this.#made) {
      if (tensor.isReleased || tensor.nbytes > maxLookedAtBytes) continue;
      const { data } = tensor;
      if (data.byteLength !== tensor.nbytes) throw new Error(`${data.byteLength} bytes for ${tensor.nbytes}`);
    }
  }

  close(): void {
    for (const tensor of this.#made) tensor.release();
    this.#tensors.close();
    this.#pool.close();
  }
}

/** A tensor in a segment, where nothing is mapped. */
class Placed implements ExtensionValue {
  readonly wireTag = "$tensor";
}

/** A worker's side: checks what a worker must check. The real one is written in Python. */
export class WorkerMemory implements Extension {
  readonly #sizes = new Map<number, number>();
  #session: Session<object> | undefined;
  readonly encode = inlineTensors.encode;

  bind(session: Session<object>): void {
    this.#session = session;
  }

  decode(tag: string, payload: unknown, source: ValueSource): ExtensionValue | undefined {
    if (tag !== "$tensor" || !isPlace(payload)) return inlineTensors.decode(tag, payload, source);
    const place = readPlace(payload);
    const nbytes = this.#sizes.get(place.segment);
    if (nbytes === undefined) throw violation(`segment ${place.segment}, which is not attached`);
    checkPlace(place, nbytes);
    source.hold(place.lease)();
    return new Placed();
  }

  onAttach(id: number, { nbytes, path }: SegmentOfPeer): void {
    if (nbytes > maxWorkerBytes || path !== undefined) throw violation(`segment ${id}, which does not come`);
    this.#sizes.set(id, nbytes);
  }

  onGiveBack(id: number): void {
    this.#sizes.delete(id);
    this.#session?.release(id);
  }

  gifts(): Value[] {
    return [];
  }

  look(): void {}
  close(): void {}
}

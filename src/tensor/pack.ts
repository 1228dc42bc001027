// Pack: the tensors of one connection to a worker. What is attached there, what is leased to it, and what it may name.
// Nothing that a worker says is believed: all it names is looked up here. Must not know how segments are made.

import { PyisolateError } from "../errors.ts";
import { violation } from "../rpc/frame.ts";
import { DEFAULT_LIMITS } from "../rpc/kinds.ts";
import type { Method, Peer } from "../rpc/peer.ts";
import { Tuple, type Value, type ValueExtension, type ValueSink, type ValueSource } from "../rpc/values.ts";
import { DTYPES } from "./dtype.ts";
import { decodeInline, encodeInline } from "./inline.ts";
import { checkShape, planCopy } from "./layout.ts";
import { Holding } from "./lease.ts";
import { checkPlace, INLINE_BYTES, isPlace, type Place, readPlace, TAG, writePlace } from "./payload.ts";
import type { Pool } from "./pool.ts";
import type { Route } from "./route.ts";
import type { Domain, Segment, SegmentUser } from "./segment.ts";
import { copyInto, SegmentMemory, type SnapshotRoom } from "./snapshot.ts";
import { type Location, Memory, Tensor } from "./tensor.ts";

export interface PackTensorsOptions {
  readonly pack: string;
  readonly domain: Domain;
  readonly maxShmBytes: number;
  readonly trustMemory: boolean;
  readonly pool: Pool;
  readonly room: SnapshotRoom;
  /** Owned; undefined: inline only. */
  readonly route: Route | undefined;
}

/** A segment that the worker may name. */
interface Attachment {
  readonly segment: Segment;
  /** Uses of it by leases that the worker has not released. */
  readonly leases: Set<{ readonly holding: Holding<Segment> }>;
}

/** How deep values are searched for tensors; the wire takes no deeper ones. */
const MAX_NESTING = 64;

export class PackTensors implements ValueExtension, SegmentUser {
  /** For the hello of this side. */
  readonly features: readonly string[];
  /** What the worker may call. */
  readonly methods: Readonly<Record<string, Method>>;
  readonly name: string;
  readonly trustMemory: boolean;
  readonly #options: PackTensorsOptions;
  readonly #route: Route | undefined;
  readonly #attachments = new Map<number, Attachment>();
  #peer: Peer | undefined;

  constructor(options: PackTensorsOptions) {
    this.#options = options;
    this.#route = options.route;
    this.name = options.pack;
    this.trustMemory = options.trustMemory;
    this.features = options.route === undefined ? [] : ["segments"];
    this.methods = options.route === undefined ? {} : { allocate: ([nbytes]) => this.#allocate(nbytes) };
  }

  /** To be called once, as soon as the peer with this extension is there. */
  bind(peer: Peer): void {
    this.#peer = peer;
    void peer.closed.then(() => this.close());
  }

  giveBack(number: number): void {
    this.#peer?.giveBack(number);
  }

  get heldBytes(): number {
    let bytes = 0;
    for (const [number, { segment }] of this.#attachments) {
      if (segment.writer !== this && segment.attached.get(this)?.number === number) bytes += segment.nbytes;
    }
    return bytes;
  }

  /** Called when the connection has ended, too. Tensors that came from there stay as they are. */
  close(): void {
    this.#route?.close();
  }

  /** The route of segments, when both sides take it. */
  get #open(): { readonly route: Route; readonly peer: Peer } | undefined {
    const peer = this.#peer;
    return this.#route !== undefined && peer?.hasFeature("segments") ? { route: this.#route, peer } : undefined;
  }

  // ---- sending

  prepare(values: readonly Value[]): Promise<void> | undefined {
    const open = this.#open;
    if (open === undefined) return undefined;
    const { pool, domain } = this.#options;
    const sizes: number[] = [];
    const lent = new Set<Segment>();
    for (const tensor of tensorsIn(values)) {
      if (tensor.isReleased || tensor.nbytes <= INLINE_BYTES) continue;
      if (this.#isReadable(tensor, open.route)) lent.add((tensor.location.memory as SegmentMemory).holding.segment);
      else sizes.push(planCopy(DTYPES[tensor.dtype].itemBytes, tensor.shape, tensor.strides).nbytes);
    }
    const admitted = pool.admit(this, lent, open.route.name, domain, sizes);
    if (admitted !== undefined || sizes.length === 0) return admitted;
    return pool.reserve(open.route.name, domain, sizes, (nbytes) => open.route.make(undefined, domain, nbytes));
  }

  /** Whether this pack may read it where it lies, and can be shown it. */
  #isReadable(tensor: Tensor, route: Route): boolean {
    const { memory } = tensor.location;
    if (!(memory instanceof SegmentMemory)) return false;
    const { segment } = memory.holding;
    const { domain } = this.#options;
    return segment.route === route.name && (segment.domain ?? domain) === domain && route.show(segment);
  }

  encode(value: object, sink: ValueSink): { readonly tag: string; readonly payload: unknown } | undefined {
    if (!(value instanceof Tensor)) return undefined;
    const open = this.#open;
    if (open === undefined || value.nbytes <= INLINE_BYTES || value.isReleased) return encodeInline(value, sink);
    if (this.#isReadable(value, open.route)) {
      sink.copied(0, open.route.name);
      return this.#encodePlace(value, value.location, sink);
    }
    return this.#encodeCopy(value, open.route, sink) ?? encodeInline(value, sink);
  }

  /** Copies it into a segment for this domain; undefined: none is there, as nobody asked `prepare`. */
  #encodeCopy(tensor: Tensor, route: Route, sink: ValueSink): ReturnType<PackTensors["encode"]> {
    const { room } = this.#options;
    const { location } = tensor;
    const { itemBytes } = DTYPES[tensor.dtype];
    const plan = planCopy(itemBytes, tensor.shape, location.strides);
    const taken = this.#take(plan.nbytes, route);
    if (taken === undefined) return undefined;
    const memory = new SegmentMemory(taken, 0, plan.nbytes, room);
    const copy: Location = { memory, offset: plan.offset, strides: plan.strides };
    const isSnapshot = location.memory instanceof SegmentMemory && !location.memory.holding.segment.isOpen;
    try {
      copyInto(taken.segment, itemBytes, location, plan);
      sink.copied(plan.nbytes, route.name);
      const encoded = this.#encodePlace(tensor, copy, sink);
      if (!isSnapshot) return encoded;
      tensor.location = copy; // from now on: what its pack may still change is seen no more
      location.memory.release();
      return encoded;
    } finally {
      if (tensor.location !== copy) memory.release();
    }
  }

  /** A segment to copy into; undefined: there is none. */
  #take(nbytes: number, route: Route): Holding<Segment> | undefined {
    const { pool, domain } = this.#options;
    for (;;) {
      const taken = pool.take(route.name, domain, nbytes, nbytes);
      if (taken === undefined || route.show(taken.segment)) return taken;
      pool.retire(taken.segment);
      taken.own()();
    }
  }

  #encodePlace(tensor: Tensor, at: Location, sink: ValueSink): { readonly tag: string; readonly payload: unknown } {
    const { holding, start } = at.memory as SegmentMemory;
    const { number, attachment } = this.#attach(holding.segment);
    const use = { holding };
    const end = holding.own();
    attachment.leases.add(use);
    const lease = sink.lease(() => {
      attachment.leases.delete(use);
      end();
    });
    const { dtype, shape } = tensor;
    const place: Place = { dtype, shape, strides: at.strides, segment: number, offset: start + at.offset, lease };
    return { tag: TAG, payload: writePlace(place) };
  }

  /** Its number here; it is sent first if the worker does not have it. Raises what ended the connection. */
  #attach(segment: Segment): { readonly number: number; readonly attachment: Attachment } {
    const { pool, domain } = this.#options;
    const known = segment.attached.get(this);
    if (known !== undefined && !known.isWantedBack) {
      return { number: known.number, attachment: this.#attachments.get(known.number) as Attachment };
    }
    const { route, peer } = this.#open as { route: Route; peer: Peer };
    if (!pool.claim(segment, domain)) throw new Error("a segment of another domain");
    const attachment: Attachment = { segment, leases: new Set() };
    const path = route.pathOf(segment);
    const frame = {
      nbytes: segment.nbytes,
      writable: segment.writer === this,
      ...(path === undefined ? {} : { path }),
    };
    const number = peer.attach(frame, () => {
      this.#attachments.delete(number);
      const isGone = pool.detached(segment, this, number);
      if (isGone && !route.hide(segment)) pool.retire(segment);
    });
    this.#attachments.set(number, attachment);
    pool.attached(segment, this, number);
    route.send(segment, number, this);
    return { number, attachment };
  }

  // ---- receiving

  decode(tag: string, payload: unknown, source: ValueSource): Tensor | undefined {
    if (tag !== TAG) return undefined;
    return isPlace(payload) ? this.#decodePlace(readPlace(payload), source) : decodeInline(payload, source);
  }

  #decodePlace(place: Place, source: ValueSource): Tensor {
    const attachment = this.#attachments.get(place.segment);
    if (attachment === undefined) throw violation(`segment ${JSON.stringify(place.segment)}, which is not attached`);
    const { segment, leases } = attachment;
    const [leased] = leases;
    if (segment.writer !== this && leased === undefined) {
      throw violation(`segment ${place.segment}, which is not leased to the worker now`);
    }
    const { start, end } = checkPlace(place, segment.nbytes);
    const nbytes = checkShape(place.dtype, place.shape);
    if (nbytes > DEFAULT_LIMITS.messageBytes) {
      throw violation(`a tensor of ${nbytes} bytes, this side accepts ${DEFAULT_LIMITS.messageBytes} in a message`);
    }
    const release = source.hold(place.lease);
    const { dtype, shape, strides } = place;
    if (start === end) {
      release();
      return Tensor.over(dtype, shape, { memory: new Memory(new Uint8Array(0)), offset: 0, strides });
    }
    const holding = segment.writer === this ? this.#options.pool.hold(segment, release) : onTopOf(leased?.holding);
    if (segment.writer !== this) release(); // whoever wrote it keeps it for us; the worker has only read it
    const memory = new SegmentMemory(holding, start, end - start, this.#options.room);
    return Tensor.over(dtype, shape, { memory, offset: place.offset - start, strides });
  }

  async #allocate(nbytes: Value | undefined): Promise<number> {
    const { pool, maxShmBytes, domain, pack } = this.#options;
    const open = this.#open;
    if (!Number.isSafeInteger(nbytes) || (nbytes as number) <= 0 || open === undefined) {
      const asked = typeof nbytes === "number" ? `${nbytes} bytes` : `a ${typeof nbytes}`;
      throw new PyisolateError("TENSOR_INVALID", `"${pack}" asks for a segment of ${asked}`);
    }
    const segment = await pool.make(this, nbytes as number, maxShmBytes, (size) => open.route.make(this, domain, size));
    try {
      return this.#attach(segment).number;
    } catch (error) {
      pool.retire(segment); // the connection has ended meanwhile
      throw error;
    }
  }
}

/** A use that rests on another one: that lasts at least as long. */
function onTopOf(base: Holding<Segment> | undefined): Holding<Segment> {
  if (base === undefined) throw new Error("a lease without a use");
  return new Holding(base.segment, base.own());
}

/** Raises VALUE_UNSUPPORTED for values that are deeper than the wire takes, in a circle for instance. */
function* tensorsIn(values: Iterable<unknown>, nesting = 0): Iterable<Tensor> {
  if (nesting > MAX_NESTING) {
    const message = `nesting deeper than ${MAX_NESTING}, or in a circle, has no form on the wire`;
    throw new PyisolateError("VALUE_UNSUPPORTED", message, { next: "Send a value of fewer levels." });
  }
  for (const value of values) {
    if (typeof value !== "object" || value === null) continue;
    if (value instanceof Tensor) yield value;
    else if (Array.isArray(value) || value instanceof Set) yield* tensorsIn(value, nesting + 1);
    else if (value instanceof Map) yield* tensorsIn(value.values(), nesting + 1);
    else if (value instanceof Tuple) yield* tensorsIn(value.items, nesting + 1);
    else if (isPlainObject(value)) yield* tensorsIn(Object.values(value), nesting + 1);
  }
}

function isPlainObject(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

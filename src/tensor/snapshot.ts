// Snapshot: tensors that lie in segments, and what host code sees of them. Where a pack may still write, host code sees a
// copy made once: nothing that it has read changes afterwards. Must not know connections.

import { DTYPES, type Dtype } from "./dtype.ts";
import { type CopyPlan, copyElements, planCopy, span } from "./layout.ts";
import type { Holding } from "./lease.ts";
import { INLINE_BYTES } from "./payload.ts";
import type { Domain, Segment } from "./segment.ts";
import { type Location, Memory, newBytes, released } from "./tensor.ts";

/** Where snapshots go. */
export interface SnapshotRoom {
  /** A use of a warm segment that this host writes; undefined: ordinary memory must do. */
  takeForSnapshot(domain: Domain | undefined, nbytes: number): Holding<Segment> | undefined;
  snapshotMade(nbytes: number): void;
}

/** A part of a segment that one tensor lies in. */
export class SegmentMemory extends Memory {
  readonly start: number;
  readonly nbytes: number;
  #holding: Holding<Segment> | undefined;
  readonly #room: SnapshotRoom;
  #ends: (() => void)[];

  /** `start`, `nbytes`: of the segment, all that the tensor may touch. */
  constructor(holding: Holding<Segment>, start: number, nbytes: number, room: SnapshotRoom) {
    super(undefined);
    this.start = start;
    this.nbytes = nbytes;
    this.#holding = holding;
    this.#room = room;
    this.#ends = [holding.ownFor(this)];
  }

  /** Raises TENSOR_RELEASED. */
  get holding(): Holding<Segment> {
    if (this.#holding === undefined) throw released();
    return this.#holding;
  }

  override get isReleased(): boolean {
    return this.#holding === undefined;
  }

  /** The use lasts as long as any array made of what it gives. */
  override look(): Uint8Array {
    const { holding } = this;
    if (this.bytes === undefined) {
      this.bytes = holding.segment.lend(this.start, this.nbytes);
      this.#ends.push(holding.ownFor(this.bytes.buffer));
    }
    return this.bytes;
  }

  override peek(start: number, nbytes: number): Uint8Array {
    return this.holding.segment.peek(this.start + start, nbytes);
  }

  override settle(dtype: Dtype, shape: readonly number[], at: Location): Location {
    const { segment } = this.holding;
    if (segment.isOpen) return at;
    const { itemBytes } = DTYPES[dtype];
    const plan = planCopy(itemBytes, shape, at.strides);
    const memory = this.#copy(itemBytes, at, plan, segment);
    this.#room.snapshotMade(plan.nbytes);
    this.release();
    return { memory, offset: plan.offset, strides: plan.strides };
  }

  #copy(itemBytes: number, at: Location, plan: CopyPlan, segment: Segment): Memory {
    const taken = plan.nbytes > INLINE_BYTES ? this.#room.takeForSnapshot(segment.domain, plan.nbytes) : undefined;
    if (taken !== undefined) {
      const memory = new SegmentMemory(taken, 0, plan.nbytes, this.#room);
      copyInto(taken.segment, itemBytes, at, plan);
      return memory;
    }
    const bytes = newBytes(plan.nbytes);
    if (plan.shape === undefined) segment.readInto(bytes, this.start + at.offset - plan.offset);
    else copyElements(bytes, this.peek(0, this.nbytes), at.offset, itemBytes, plan.shape, at.strides);
    return new Memory(bytes);
  }

  override release(): void {
    this.#holding = undefined;
    this.bytes = undefined;
    for (const end of this.#ends.splice(0)) end();
  }
}

/** Copies a tensor to the start of a segment as planned. Raises TENSOR_RELEASED, TENSOR_INVALID. */
export function copyInto(segment: Segment, itemBytes: number, at: Location, plan: CopyPlan): void {
  const { memory, offset, strides } = at;
  const { shape } = plan;
  if (shape === undefined) {
    segment.write(memory.peek(offset - plan.offset, plan.nbytes));
    return;
  }
  // All bytes that the elements may touch.
  const { start, nbytes } = reach(itemBytes, shape, strides, offset);
  const source = memory.peek(start, nbytes);
  segment.fill(plan.nbytes, (target) => copyElements(target, source, offset - start, itemBytes, shape, strides));
}

function reach(itemBytes: number, shape: readonly number[], strides: readonly number[], offset: number) {
  const { low, high } = span(shape, strides);
  return { start: offset + low * itemBytes, nbytes: (high - low) * itemBytes };
}

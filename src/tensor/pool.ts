// Pool: all segments of a program. Which are warm, who may have how much, when memory is given back.
// Must not know values or sockets.

import { PyisolateError } from "../errors.ts";
import { Holding } from "./lease.ts";
import type { Domain, Segment, SegmentRoute, SegmentUser } from "./segment.ts";

const KiB = 1024;
const PAGE_BYTES = 4 * KiB;
const SMALLEST_BYTES = 128 * KiB;

/** Warm memory beyond what is kept goes back after this: a loop over large tensors finds it warm. */
const OVER_KEEP_MS = 500;

/** While a request waits, garbage is looked for this often. */
const COLLECT_EVERY_MS = 500;

/** What one pack may keep of all there may be: one that never lets go leaves a quarter to the others. */
const PACK_SHARE = 3 / 4;

export interface PoolOptions {
  /** Of all segments. */
  readonly totalBytes: number;
  /** Of segments that nobody uses; what is beyond goes back at once. */
  readonly keepBytes: number;
  /** After this long without use a segment goes back in any case. */
  readonly idleMs: number;
  /** How long a request waits for memory that others release. */
  readonly waitMs: number;
  /** Called when memory is short. */
  readonly collectGarbage: () => void;
}

export interface PoolStats {
  readonly segments: number;
  readonly bytes: number;
  /** Of segments in which no tensor lies. */
  readonly warmBytes: number;
  readonly totalBytes: number;
}

export type MakeSegment = (nbytes: number) => Promise<Segment>;

/** Bytes of the segment for so many: from 128 KiB on, four sizes a doubling. */
export function sizeClass(nbytes: number): number {
  let size = SMALLEST_BYTES;
  while (size < nbytes) size *= 2;
  const quarters = size === SMALLEST_BYTES ? 8 : ([5, 6, 7].find((count) => (size / 8) * count >= nbytes) ?? 8);
  return (size / 8) * quarters;
}

function toPages(nbytes: number): number {
  return Math.ceil(nbytes / PAGE_BYTES) * PAGE_BYTES;
}

export class Pool {
  readonly #options: PoolOptions;
  readonly #live = new Set<Segment>();
  /** Written by the host and used by nobody; the one that was used last at the end. */
  readonly #idle = new Set<Segment>();
  /** Bytes of segments that are or are being made: by writer, undefined: the host. And in all. */
  readonly #bytesOf = new Map<SegmentUser | undefined, number>();
  #bytes = 0;
  #waiters: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #collectedMs = Number.NEGATIVE_INFINITY;
  #isClosed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  stats(): PoolStats {
    const warm = this.#warm();
    return {
      segments: this.#live.size,
      bytes: this.#bytes,
      warmBytes: warm.reduce((sum, { nbytes }) => sum + nbytes, 0),
      totalBytes: this.#options.totalBytes,
    };
  }

  /** Whether the tensors in all segments and `nbytes` more are within half of what there may be. */
  hasEase(nbytes: number): boolean {
    const { bytes, warmBytes, totalBytes } = this.stats();
    return bytes - warmBytes + nbytes <= totalBytes / 2;
  }

  // ---- uses

  /** One more use of a segment. `onEnd`: when it has ended. */
  hold(segment: Segment, onEnd: () => void = () => {}): Holding<Segment> {
    segment.useCount += 1;
    segment.isDirty = true;
    return new Holding(segment, () => {
      this.#useEnded(segment);
      onEnd();
    });
  }

  #useEnded(segment: Segment): void {
    segment.useCount -= 1;
    if (segment.useCount > 0) return;
    segment.idleSinceMs = performance.now();
    if (this.#isClosed) segment.isRetired = true;
    if (segment.isRetired) this.#giveBack(segment);
    else if (segment.writer === undefined) this.#idle.add(segment);
    this.#changed();
  }

  /** Whether packs of that domain may read it; one that nobody has seen becomes theirs. */
  claim(segment: Segment, domain: Domain): boolean {
    segment.domain ??= domain;
    return segment.domain === domain;
  }

  // ---- segments that the host writes

  /**
   * A use of an idle one, which is that domain's from then on; undefined domain: one that no pack has seen.
   * `overwrittenBytes`: what the caller writes at once, from the start on.
   */
  take(
    route: SegmentRoute,
    domain: Domain | undefined,
    nbytes: number,
    overwrittenBytes: number,
  ): Holding<Segment> | undefined {
    const segment = this.#findIdle(route, domain, nbytes, new Set());
    if (segment === undefined) return undefined;
    this.#idle.delete(segment);
    // What host code has left there may be for other eyes.
    if (segment.domain === undefined && segment.isDirty) segment.clear(overwrittenBytes);
    segment.domain = domain;
    return this.hold(segment);
  }

  #findIdle(
    route: SegmentRoute,
    domain: Domain | undefined,
    nbytes: number,
    without: ReadonlySet<Segment>,
  ): Segment | undefined {
    let best: Segment | undefined;
    const largest = 2 * sizeClass(nbytes);
    for (const segment of this.#idle) {
      if (segment.route !== route || (segment.domain !== domain && segment.domain !== undefined)) continue;
      if (segment.nbytes < nbytes || segment.nbytes > largest || without.has(segment)) continue;
      if (best === undefined || segment.nbytes <= best.nbytes) best = segment;
    }
    return best;
  }

  /**
   * Sees to it that `take` finds a segment for each size. undefined: it does now; else settles when it is worth looking
   * again, at once. Rejects with SHARED_MEMORY_EXHAUSTED.
   */
  reserve(
    route: SegmentRoute,
    domain: Domain | undefined,
    sizes: readonly number[],
    make: MakeSegment,
  ): Promise<void> | undefined {
    const found = new Set<Segment>();
    const missing: number[] = [];
    for (const size of [...sizes].sort((one, other) => other - one)) {
      const segment = this.#findIdle(route, domain, size, found);
      if (segment === undefined) missing.push(size);
      else found.add(segment);
    }
    return missing.length === 0 ? undefined : this.#reserve(found, missing, make);
  }

  async #reserve(pinned: Set<Segment>, missing: readonly number[], make: MakeSegment): Promise<void> {
    for (const segment of pinned) segment.pinCount += 1;
    try {
      for (const size of missing) {
        const segment = await this.make(undefined, size, undefined, make);
        segment.pinCount += 1;
        pinned.add(segment);
        this.#idle.add(segment);
      }
    } finally {
      setImmediate(() => {
        for (const segment of pinned) segment.pinCount -= 1;
        this.#changed();
      });
    }
  }

  // ---- what one pack may have

  /**
   * Whether a pack may have these segments, and for each size one that `take` finds or that is to be made. undefined: it
   * may now; else settles when it is worth asking again, at once. Rejects with SHARED_MEMORY_EXHAUSTED when it keeps what
   * it has.
   */
  admit(
    pack: SegmentUser,
    lent: ReadonlySet<Segment>,
    route: SegmentRoute,
    domain: Domain,
    sizes: readonly number[],
  ): Promise<void> | undefined {
    let nbytes = 0; // that it does not have yet
    for (const segment of lent) if (!segment.attached.has(pack)) nbytes += segment.nbytes;
    const found = new Set<Segment>();
    for (const size of sizes) {
      const segment = this.#findIdle(route, domain, size, found);
      if (segment !== undefined) found.add(segment);
      if (!segment?.attached.has(pack)) nbytes += segment?.nbytes ?? size;
    }
    return nbytes === 0 || nbytes <= this.#shareLeft(pack) ? undefined : this.#waitForShare(pack, nbytes);
  }

  async #waitForShare(pack: SegmentUser, nbytes: number): Promise<void> {
    const endMs = performance.now() + this.#options.waitMs;
    this.#reclaimShare(pack, nbytes);
    while (nbytes > this.#shareLeft(pack)) {
      const remainingMs = endMs - performance.now();
      if (nbytes > this.#share || remainingMs <= 0) throw this.#shareExhausted(pack, nbytes);
      this.#collectGarbage();
      await this.#waitForChange(Math.min(remainingMs, COLLECT_EVERY_MS));
      this.#reclaimShare(pack, nbytes);
    }
  }

  /** Asks for what the pack has and nobody uses, the longest idle first. */
  #reclaimShare(pack: SegmentUser, nbytes: number): void {
    let missing = nbytes - this.#shareLeft(pack);
    if (missing <= 0) return;
    for (const segment of this.#warm()) {
      if (missing <= 0) return;
      if (segment.pinCount > 0 || !segment.attached.has(pack)) continue;
      missing -= segment.nbytes;
      this.retire(segment);
    }
  }

  get #share(): number {
    return this.#options.totalBytes * PACK_SHARE;
  }

  #shareLeft(pack: SegmentUser): number {
    return this.#share - (this.#bytesOf.get(pack) ?? 0) - pack.heldBytes;
  }

  #shareExhausted(pack: SegmentUser, nbytes: number): PyisolateError {
    const left = this.#shareLeft(pack);
    return new PyisolateError(
      "SHARED_MEMORY_EXHAUSTED",
      `the pack "${pack.name}" has ${this.#share - left} bytes of shared memory; ${nbytes} more would be beyond its share of ${this.#share}`,
      {
        next: "Send it less at a time, see to it that it lets go of what it was given, or raise totals: shm in the policy.",
      },
    );
  }

  // ---- making and attaching

  /** A new one without uses. `maxBytes`: of all that this writer has. Rejects with SHARED_MEMORY_EXHAUSTED. */
  async make(
    writer: SegmentUser | undefined,
    nbytes: number,
    maxBytes: number | undefined,
    make: MakeSegment,
  ): Promise<Segment> {
    const size = await this.#reserveBytes(writer, nbytes, maxBytes);
    try {
      const segment = await make(size);
      if (this.#isClosed) {
        segment.close();
        throw closed();
      }
      segment.idleSinceMs = performance.now();
      this.#live.add(segment);
      this.#schedule();
      return segment;
    } catch (error) {
      this.#count(writer, -size);
      this.#changed();
      throw error;
    }
  }

  /** The pack has it, and names it so. */
  attached(segment: Segment, pack: SegmentUser, number: number): void {
    segment.attached.set(pack, { number, isWantedBack: false });
  }

  /** The pack has it no more. false: it has it under another number. */
  detached(segment: Segment, pack: SegmentUser, number: number): boolean {
    const isLast = segment.attached.get(pack)?.number === number && segment.attached.delete(pack);
    if (segment.writer === pack) this.retire(segment);
    this.#freeIfUnused(segment);
    return isLast;
  }

  /** It is never used for anything new. */
  retire(segment: Segment): void {
    segment.isRetired = true;
    this.#idle.delete(segment);
    if (segment.useCount === 0) this.#giveBack(segment);
  }

  #giveBack(segment: Segment): void {
    for (const [pack, attached] of segment.attached) {
      if (attached.isWantedBack) continue;
      attached.isWantedBack = true;
      pack.giveBack(attached.number);
    }
    this.#freeIfUnused(segment);
  }

  #freeIfUnused(segment: Segment): void {
    if (!segment.isRetired || segment.useCount > 0 || segment.attached.size > 0) return;
    if (!this.#live.delete(segment)) return;
    this.#count(segment.writer, -segment.nbytes);
    segment.close();
    this.#changed();
  }

  // ---- room

  #count(writer: SegmentUser | undefined, nbytes: number): void {
    this.#bytes += nbytes;
    const bytes = (this.#bytesOf.get(writer) ?? 0) + nbytes;
    if (bytes === 0) this.#bytesOf.delete(writer);
    else this.#bytesOf.set(writer, bytes);
  }

  /** Bytes of the segment that may be made now; waits until others are released if it must. */
  async #reserveBytes(writer: SegmentUser | undefined, nbytes: number, maxBytes: number | undefined): Promise<number> {
    const endMs = performance.now() + this.#options.waitMs;
    const share = writer === undefined ? this.#options.totalBytes : this.#share;
    const limit = Math.min(share, maxBytes ?? Number.POSITIVE_INFINITY);
    for (;;) {
      if (this.#isClosed) throw closed();
      let room = this.#room(writer, maxBytes);
      if (room < sizeClass(nbytes)) {
        if (writer !== undefined) this.#reclaimShare(writer, sizeClass(nbytes));
        this.#reclaim(writer, maxBytes, sizeClass(nbytes));
        room = this.#room(writer, maxBytes);
      }
      const size = [sizeClass(nbytes), toPages(nbytes)].find((bytes) => bytes <= room);
      if (size !== undefined) {
        this.#count(writer, size);
        return size;
      }
      const remainingMs = endMs - performance.now();
      if (toPages(nbytes) > limit || remainingMs <= 0) throw this.#exhausted(writer, nbytes, maxBytes);
      this.#collectGarbage();
      await this.#waitForChange(Math.min(remainingMs, COLLECT_EVERY_MS));
    }
  }

  /** Tensors that are garbage end their use soon after. */
  #collectGarbage(): void {
    const nowMs = performance.now();
    if (nowMs - this.#collectedMs < COLLECT_EVERY_MS) return;
    this.#options.collectGarbage();
    this.#collectedMs = performance.now();
  }

  #room(writer: SegmentUser | undefined, maxBytes: number | undefined): number {
    const left = this.#options.totalBytes - this.#bytes;
    const room = writer === undefined ? left : Math.min(left, this.#shareLeft(writer));
    return maxBytes === undefined ? room : Math.min(room, maxBytes - (this.#bytesOf.get(writer) ?? 0));
  }

  /** Gives back what is warm, the longest idle first; what packs have comes free when they answer. */
  #reclaim(writer: SegmentUser | undefined, maxBytes: number | undefined, size: number): void {
    let missing = size - this.#room(undefined, undefined);
    let missingOfPack = size - this.#room(writer, maxBytes);
    for (const segment of this.#warm()) {
      const isOfPack = maxBytes !== undefined && segment.writer === writer;
      const isOfUse = missing > 0 || (isOfPack && missingOfPack > 0);
      if (segment.pinCount > 0 || !isOfUse) continue;
      missing -= segment.nbytes;
      if (isOfPack) missingOfPack -= segment.nbytes;
      this.retire(segment);
    }
  }

  #exhausted(writer: SegmentUser | undefined, nbytes: number, maxBytes: number | undefined): PyisolateError {
    const used = this.#bytesOf.get(writer) ?? 0;
    const { totalBytes } = this.#options;
    if (maxBytes !== undefined && maxBytes - used < toPages(nbytes)) {
      return new PyisolateError(
        "SHARED_MEMORY_EXHAUSTED",
        `the pack asks for ${nbytes} bytes of shared memory, has ${used} in use, and its max_shm is ${maxBytes}`,
        { next: "Release results earlier, make them smaller, or raise max_shm in the manifest." },
      );
    }
    if (writer !== undefined && this.#shareLeft(writer) < toPages(nbytes)) return this.#shareExhausted(writer, nbytes);
    return new PyisolateError(
      "SHARED_MEMORY_EXHAUSTED",
      `${nbytes} bytes of shared memory are needed; of ${totalBytes} in all ${this.#bytes} are in use`,
      { next: "Release tensors earlier, or let the program have more shared memory." },
    );
  }

  #waitForChange(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#waiters.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #changed(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
    this.#schedule();
  }

  // ---- giving back

  /** Segments that nobody uses, the longest idle first. */
  #warm(): Segment[] {
    return [...this.#live]
      .filter(({ useCount, isRetired }) => useCount === 0 && !isRetired)
      .sort((one, other) => one.idleSinceMs - other.idleSinceMs);
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#isClosed || this.#live.size === 0) return;
    this.#timer = setTimeout(() => this.#tidy(), Math.min(this.#options.idleMs, OVER_KEEP_MS) / 2).unref();
  }

  #tidy(): void {
    this.#timer = undefined;
    const nowMs = performance.now();
    const warm = this.#warm();
    let warmBytes = warm.reduce((sum, { nbytes }) => sum + nbytes, 0);
    for (const segment of warm) {
      // One that its pack has just been given may be in use there.
      const isOver = warmBytes > this.#options.keepBytes && (segment.isDirty || segment.writer === undefined);
      const limitMs = isOver ? Math.min(OVER_KEEP_MS, this.#options.idleMs) : this.#options.idleMs;
      if (segment.pinCount > 0 || nowMs - segment.idleSinceMs < limitMs) continue;
      warmBytes -= segment.nbytes;
      this.retire(segment);
    }
    if (this.#warm().length > 0) this.#schedule();
  }

  /** Gives back what is idle now, and what is in use as soon as it is not. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const segment of [...this.#live]) this.retire(segment);
    this.#changed();
  }
}

function closed(): PyisolateError {
  return new PyisolateError("SHARED_MEMORY_EXHAUSTED", "the program's shared memory was closed", {
    next: "Make tensors before the manager is closed.",
  });
}

// Memory: pictures to send, what copying and comparing them costs here, and what this program holds in shared memory.

import { readdirSync, readlinkSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";

/** [1, H, W, 3] float32. */
export const pictureShape = [1, 1024, 1024, 3] as const;
export const pictureBytes = 4 * 1024 * 1024 * 3;

/** Random float32 values in 0..1. */
export function pictureValues(): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: pictureBytes / 4 }, Math.random);
}

/** Whether both hold the same bytes; reads all of them. */
export function isEqual(bytes: Uint8Array, expected: ArrayBufferView): boolean {
  return Buffer.compare(bytes, bytesOf(expected)) === 0;
}

/** Milliseconds of one copy and one comparison. */
export interface MemoryCost {
  readonly copy: number;
  readonly comparison: number;
}

/** Copies and compares `nbytes` in warm memory of this process. */
export class WarmMemory {
  readonly #source: Uint8Array;
  readonly #target: Uint8Array;

  constructor(nbytes: number) {
    this.#source = new Uint8Array(nbytes).fill(7);
    this.#target = new Uint8Array(this.#source);
  }

  measure(): MemoryCost {
    const startedMs = performance.now();
    this.#target.set(this.#source);
    const copiedMs = performance.now();
    isEqual(this.#target, this.#source);
    return { copy: copiedMs - startedMs, comparison: performance.now() - copiedMs };
  }
}

/** Bytes of each file in shared memory that this process and /dev/shm hold. */
export function sharedFiles(): ReadonlyMap<string, number> {
  const files = new Map<string, number>();
  const note = (path: string) => {
    const found = statOrNothing(path);
    if (found !== undefined) files.set(`${found.dev}:${found.ino}`, found.blocks * 512);
  };
  for (const name of readdirSync("/dev/shm", { recursive: true })) note(join("/dev/shm", String(name)));
  for (const descriptor of readdirSync("/proc/self/fd")) {
    const path = `/proc/self/fd/${descriptor}`;
    if (linkOrNothing(path)?.startsWith("/memfd:")) note(path);
  }
  return files;
}

/** Bytes in shared memory that were not there before. */
export function sharedBytesSince(before: ReadonlyMap<string, number>): number {
  return [...sharedFiles()].reduce((sum, [file, bytes]) => sum + (before.has(file) ? 0 : bytes), 0);
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function statOrNothing(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

function linkOrNothing(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // the descriptor that listed them
  }
}

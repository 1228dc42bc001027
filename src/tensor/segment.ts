// Segment: one piece of shared memory, made by the host. To a pack: the host writes. From a pack: that pack writes,
// nobody else ever does. Its state is the pool's affair. Must not know tensors or sockets.
// Route "descriptor": a sealed memory file, which its receivers can neither cut nor grow. Route "path": a file in a
// directory that is mounted into the container; whoever may write such a file can cut it, so it is never mapped here.

import { close, closeSync, fchmodSync, linkSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { PyisolateError } from "../errors.ts";
import { type Mapping, type Native, SEAL } from "./native.ts";

export type SegmentRoute = "descriptor" | "path";

/** The packs that may read the same segments. Compared by identity. */
export class Domain {
  readonly kind = "domain";
}

/** One pack's connection, as segments know it. */
export interface SegmentUser {
  /** The pack's name. */
  readonly name: string;
  /** Of segments written by others that it has, in use or not: it may keep them. */
  readonly heldBytes: number;
  /** Whether host code may look at what it writes, where it lies. */
  readonly trustMemory: boolean;
  /** Asks for a segment back, by its number there. */
  giveBack(number: number): void;
}

/** A pack has the segment. */
export interface Attached {
  /** Of the segment on the pack's connection. */
  readonly number: number;
  isWantedBack: boolean;
}

export abstract class Segment {
  abstract readonly route: SegmentRoute;
  /** A multiple of 4096. */
  readonly nbytes: number;
  /** The pack that may write it; undefined: the host. */
  readonly writer: SegmentUser | undefined;
  /** Whose packs may read it, for life; undefined: no pack has seen it yet. */
  domain: Domain | undefined;
  /** Tensors of the host and leases of packs in it. */
  useCount = 0;
  readonly attached = new Map<SegmentUser, Attached>();
  /** Something was in it before. */
  isDirty = false;
  /** It is never used again, and closed when nothing uses it. */
  isRetired = false;
  /** Calls that rely on its being idle soon, so that it is not given back. */
  pinCount = 0;
  /** When the last use ended, or it was made; as performance.now() counts. */
  idleSinceMs = 0;

  constructor(nbytes: number, writer: SegmentUser | undefined, domain: Domain | undefined) {
    this.nbytes = nbytes;
    this.writer = writer;
    this.domain = domain;
  }

  /** Whether host code may look at it where it lies. */
  abstract readonly isOpen: boolean;
  /** Puts bytes at the start. */
  abstract write(bytes: Uint8Array): void;
  /** Bytes for host code, which may keep them: of a buffer that is garbage when host code has let go. Only if `isOpen`. */
  abstract lend(start: number, nbytes: number): Uint8Array;
  /** Bytes to copy from at once, not to be kept. Raises TENSOR_INVALID when the segment was cut. */
  abstract peek(start: number, nbytes: number): Uint8Array;
  /** Makes all from byte `start` on zero. */
  abstract clear(start: number): void;
  /** Nothing uses it any more. */
  abstract close(): void;

  /** Fills the target with what lies at byte `start`. Raises TENSOR_INVALID when the segment was cut. */
  readInto(target: Uint8Array, start: number): void {
    target.set(this.peek(start, target.byteLength));
  }

  /** Puts what `write` writes to the start. */
  fill(nbytes: number, write: (target: Uint8Array) => void): void {
    const bytes = new Uint8Array(nbytes);
    write(bytes);
    this.write(bytes);
  }
}

/** Route "descriptor". */
export class MemorySegment extends Segment {
  readonly route = "descriptor";
  readonly isOpen: boolean;
  readonly #native: Native;
  readonly #descriptor: number;
  readonly #mapping: Mapping;
  /** For this file's own copying; never handed out. */
  readonly #bytes: Uint8Array;
  /** What was handed out. One for all tensors in turn: the garbage collector counts each as memory of that size. */
  #lent: WeakRef<ArrayBuffer> | undefined;

  private constructor(
    native: Native,
    descriptor: number,
    mapping: Mapping,
    writer: SegmentUser | undefined,
    domain: Domain | undefined,
  ) {
    super(mapping.nbytes, writer, domain);
    this.isOpen = writer?.trustMemory ?? true;
    this.#native = native;
    this.#descriptor = descriptor;
    this.#mapping = mapping;
    this.#bytes = new Uint8Array(mapping.view(0, mapping.nbytes));
  }

  /** Raises SHARED_MEMORY_EXHAUSTED. */
  static async make(
    native: Native,
    nbytes: number,
    writer: SegmentUser | undefined,
    domain: Domain | undefined,
  ): Promise<MemorySegment> {
    const descriptor = native.createMemoryFile("pyisolate");
    let mapping: Mapping | undefined;
    try {
      fchmodSync(descriptor, 0o600); // a reader in the writer's domain cannot open it again to write
      await native.allocate(descriptor, nbytes);
      // Writable for trusted packs' memory, too: else a careless write of host code would end this program.
      mapping = native.map(descriptor, nbytes, writer?.trustMemory ?? true);
      native.seal(descriptor, SEAL.seal | SEAL.shrink | SEAL.grow | (writer === undefined ? SEAL.futureWrite : 0));
      if (writer === undefined) await mapping.populate();
      return new MemorySegment(native, descriptor, mapping, writer, domain);
    } catch (error) {
      mapping?.close();
      closeSync(descriptor);
      throw error;
    }
  }

  /** Lends a descriptor to write with for the writer, else one to read with. */
  lendDescriptor(user: SegmentUser, use: (descriptor: number) => void): void {
    if (this.writer === undefined || this.writer === user) {
      use(this.#descriptor);
      return;
    }
    const readOnly = openSync(`/proc/self/fd/${this.#descriptor}`, "r");
    try {
      use(readOnly);
    } finally {
      closeSync(readOnly);
    }
  }

  write(bytes: Uint8Array): void {
    this.#bytes.set(bytes);
  }

  override fill(nbytes: number, write: (target: Uint8Array) => void): void {
    write(this.#bytes.subarray(0, nbytes));
  }

  lend(start: number, nbytes: number): Uint8Array {
    let buffer = this.#lent?.deref();
    if (buffer === undefined) {
      buffer = this.#mapping.view(0, this.nbytes);
      this.#lent = new WeakRef(buffer);
    }
    return new Uint8Array(buffer, start, nbytes);
  }

  peek(start: number, nbytes: number): Uint8Array {
    return this.#bytes.subarray(start, start + nbytes);
  }

  clear(start: number): void {
    this.#bytes.fill(0, start);
  }

  close(): void {
    this.#mapping.close();
    const descriptor = this.#descriptor;
    // Off the event loop, as it takes 0.13 s per GiB. A pack that keeps what it wrote keeps no memory of this program.
    const freed = this.writer === undefined ? Promise.resolve() : this.#native.free(descriptor, this.nbytes);
    void freed.then(() => close(descriptor, () => {}));
  }
}

const ZEROS_BYTES = 1024 * 1024;

/** Route "path": links to one file, one in the directory of each pack that has it. */
export class FileSegment extends Segment {
  readonly route = "path";
  readonly isOpen = false;
  /** Of every link. */
  readonly name: string;
  readonly #file: FileHandle;
  readonly #directories: Set<string>;

  private constructor(
    file: FileHandle,
    nbytes: number,
    writer: SegmentUser | undefined,
    domain: Domain | undefined,
    place: { readonly directory: string; readonly name: string },
  ) {
    super(nbytes, writer, domain);
    this.name = place.name;
    this.#file = file;
    this.#directories = new Set([place.directory]);
  }

  /** Raises SHARED_MEMORY_EXHAUSTED. */
  static async make(
    place: { readonly directory: string; readonly name: string },
    nbytes: number,
    writer: SegmentUser | undefined,
    domain: Domain | undefined,
  ): Promise<FileSegment> {
    const path = join(place.directory, place.name);
    let file: FileHandle | undefined;
    try {
      file = await open(path, "wx+", 0o600); // never opened by its name again: that may be another file by then
      const zeros = new Uint8Array(ZEROS_BYTES);
      for (let at = 0; at < nbytes; ) {
        at += (await file.write(zeros, 0, Math.min(ZEROS_BYTES, nbytes - at), at)).bytesWritten;
      }
      await file.chmod(writer === undefined ? 0o644 : 0o666);
      return new FileSegment(file, nbytes, writer, domain, place);
    } catch (error) {
      if (file !== undefined) unlink(path);
      await file?.close();
      throw new PyisolateError("SHARED_MEMORY_EXHAUSTED", `${path} cannot be made`, { next: NEXT }, error);
    }
  }

  write(bytes: Uint8Array): void {
    this.#write(bytes, 0);
  }

  #write(bytes: Uint8Array, start: number): void {
    for (let at = 0; at < bytes.byteLength; ) {
      at += writeSync(this.#file.fd, bytes, at, bytes.byteLength - at, start + at);
    }
  }

  lend(): Uint8Array {
    throw new Error("a file of shared memory is never lent");
  }

  peek(start: number, nbytes: number): Uint8Array {
    const bytes = new Uint8Array(nbytes);
    this.readInto(bytes, start);
    return bytes;
  }

  override readInto(target: Uint8Array, start: number): void {
    for (let at = 0; at < target.byteLength; ) {
      const count = readSync(this.#file.fd, target, at, target.byteLength - at, start + at);
      if (count === 0) {
        throw new PyisolateError("TENSOR_INVALID", `a segment of ${this.nbytes} bytes was cut to ${start + at}`, {
          next: "The pack that wrote it cut its file; do not use this pack.",
        });
      }
      at += count;
    }
  }

  clear(start: number): void {
    this.#write(new Uint8Array(this.nbytes - start), start);
  }

  /** Makes it visible to one more pack; false: the directory of its other link went with a container. */
  linkInto(directory: string): boolean {
    if (this.#directories.has(directory)) return true;
    const [first] = this.#directories;
    try {
      linkSync(join(first as string, this.name), join(directory, this.name));
    } catch {
      return false;
    }
    this.#directories.add(directory);
    return true;
  }

  /** false: that is where its last link is, which goes with the segment. */
  unlinkFrom(directory: string): boolean {
    if (this.#directories.size === 1) return !this.#directories.has(directory);
    if (this.#directories.delete(directory)) unlink(join(directory, this.name));
    return true;
  }

  close(): void {
    for (const directory of this.#directories) unlink(join(directory, this.name));
    const file = this.#file;
    // A pack that keeps it mapped keeps no memory of this program.
    void file
      .truncate(0)
      .catch(() => {})
      .then(() => file.close());
  }
}

const NEXT = "Free memory of the machine, and look at the free space of /dev/shm.";

function unlink(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // The directory may have gone with its container.
  }
}

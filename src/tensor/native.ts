// Native: the few calls of the C library that Node lacks, by koffi. The only file that knows koffi and addresses.
// Must not know what lies in the memory.

import { fstatSync } from "node:fs";
import type { Socket } from "node:net";
import { getSystemErrorName } from "node:util";
import { PyisolateError } from "../errors.ts";

/** Seals of a memory file; a set of them is their sum. */
export const SEAL = { seal: 1, shrink: 2, grow: 4, futureWrite: 16 } as const;

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
/** Calls in threads at a time: as many as Node has threads for them. */
const MAX_OFF_LOOP = 4;

const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const F_ADD_SEALS = 1033;
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_FIXED = 16;
const MAP_ANONYMOUS = 32;
const MAP_NORESERVE = 0x4000;
const MADV_POPULATE_WRITE = 23;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

/** Message and control header for one record and one descriptor. */
const CONTROL_BYTES = 24;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const SO_PEERCRED = 17;
/** struct ucred: pid, uid, gid. */
const CREDENTIALS_BYTES = 12;

/** Every method raises SHARED_MEMORY_EXHAUSTED, with the call and the system's error in the message, unless it says other. */
export interface Native {
  /** A new file that exists in memory only; its descriptor is owned by the caller. */
  createMemoryFile(name: string): number;
  /** Gives the file its size and its pages, off the event loop: takes about 0.6 s per GiB. */
  allocate(descriptor: number, nbytes: number): Promise<void>;
  /** Gives back the pages of a file of so many bytes, off the event loop; they read as zeros from then on. Never rejects. */
  free(descriptor: number, nbytes: number): Promise<void>;
  /** Adds seals; the kernel holds everybody to them. */
  seal(descriptor: number, seals: number): void;
  map(descriptor: number, nbytes: number, isWritable: boolean): Mapping;
  /** Sends the record with a copy of the descriptor, at once. false: the socket has no room. Raises PEER_BROKEN. */
  sendDescriptor(socket: number, record: Uint8Array, descriptor: number): boolean;
  /** The user of the process that dialled a Unix socket, as the kernel noted it then. */
  peerUid(socket: number): number;
}

/** The descriptor of a connection; undefined: it is about to end. Node has no public name for it. */
export function descriptorOf(connection: Socket): number | undefined {
  return (connection as unknown as { readonly _handle: { readonly fd: number } | null })._handle?.fd;
}

/** undefined: koffi, an optional dependency, is not installed, or has no build for this machine. */
export async function loadNative(): Promise<Native | undefined> {
  const koffi = await import("koffi").catch(() => undefined);
  return koffi === undefined ? undefined : new LibC(koffi.default);
}

type Koffi = typeof import("koffi")["default"];
type Call = ReturnType<ReturnType<Koffi["load"]>["func"]>;

class LibC implements Native {
  readonly #koffi: Koffi;
  readonly #calls: Readonly<Record<keyof typeof CALLS, Call>>;
  readonly #sendmsg: Call;
  #offLoopCount = 0;
  /** Calls that wait for their turn. */
  readonly #waiting: (() => void)[] = [];
  /** Unmaps a closed mapping when nothing can look at it any more. */
  readonly #garbage = new FinalizationRegistry<Mapping>((mapping) => mapping.viewEnded());

  constructor(koffi: Koffi) {
    this.#koffi = koffi;
    const library = koffi.load(null);
    const calls = Object.entries(CALLS).map(([name, [result, args]]) => [name, library.func(name, result, [...args])]);
    this.#calls = Object.fromEntries(calls);
    this.#sendmsg = library.func("sendmsg", "intptr_t", ["int", koffi.pointer(messageType(koffi)), "int"]);
  }

  createMemoryFile(name: string): number {
    return this.#checked("memfd_create", this.#calls.memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  }

  async allocate(descriptor: number, nbytes: number): Promise<void> {
    const failure = await this.#offLoop("posix_fallocate", descriptor, 0, nbytes);
    if (failure !== 0) throw exhausted("posix_fallocate", failure);
  }

  async free(descriptor: number, nbytes: number): Promise<void> {
    const mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
    await this.#offLoop("fallocate", descriptor, mode, 0, nbytes).catch(() => {}); // the file is about to be closed
  }

  seal(descriptor: number, seals: number): void {
    this.#checked("fcntl", this.#calls.fcntl(descriptor, F_ADD_SEALS, seals));
  }

  map(descriptor: number, nbytes: number, isWritable: boolean): Mapping {
    const size = fstatSync(descriptor).size;
    if (size < nbytes) throw new Error(`a mapping of ${nbytes} bytes of a file of ${size}`);
    const protection = isWritable ? PROT_READ | PROT_WRITE : PROT_READ;
    const address: number = this.#calls.mmap(0, nbytes, protection, MAP_SHARED, descriptor, 0);
    return new Mapping(this.#checked("mmap", address), nbytes, {
      view: (start, length) => this.#koffi.view(BigInt(start), length),
      watch: (view, mapping) => this.#garbage.register(view, mapping),
      // All pages now instead of one by one when they are written. Older kernels decline.
      populate: (start, length) => this.#offLoop("madvise", start, length, MADV_POPULATE_WRITE),
      hide: (start, length) => {
        const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        this.#checked("mmap", this.#calls.mmap(start, length, PROT_READ | PROT_WRITE, flags, -1, 0));
      },
      unmap: (start, length) => this.#checked("munmap", this.#calls.munmap(start, length)),
    });
  }

  sendDescriptor(socket: number, record: Uint8Array, descriptor: number): boolean {
    const control = Buffer.alloc(CONTROL_BYTES);
    control.writeBigUInt64LE(20n, 0); // bytes in use
    control.writeInt32LE(SOL_SOCKET, 8);
    control.writeInt32LE(SCM_RIGHTS, 12);
    control.writeInt32LE(descriptor, 16);
    const message = {
      name: null,
      nameBytes: 0,
      parts: { start: record, nbytes: record.byteLength },
      partCount: 1,
      control,
      controlBytes: CONTROL_BYTES,
      flags: 0,
    };
    const sent: number = this.#sendmsg(socket, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent === record.byteLength) return true;
    const errno = this.#koffi.errno();
    if (sent < 0 && errno === this.#koffi.os.errno.EAGAIN) return false;
    throw new PyisolateError("PEER_BROKEN", `sending a descriptor failed: ${sent < 0 ? nameOf(errno) : "cut short"}`);
  }

  peerUid(socket: number): number {
    const credentials = Buffer.alloc(CREDENTIALS_BYTES);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(CREDENTIALS_BYTES);
    this.#checked("getsockopt", this.#calls.getsockopt(socket, SOL_SOCKET, SO_PEERCRED, credentials, length));
    return credentials.readUInt32LE(4);
  }

  /** In a thread of Node's pool; koffi itself refuses to have more than 256 such calls at a time. */
  async #offLoop(call: keyof typeof CALLS, ...args: number[]): Promise<number> {
    while (this.#offLoopCount >= MAX_OFF_LOOP) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#offLoopCount += 1;
    try {
      return await new Promise<number>((resolve, reject) => {
        this.#calls[call].async(...args, (error: unknown, result: number) => {
          if (error) reject(error);
          else resolve(result);
        });
      });
    } finally {
      this.#offLoopCount -= 1;
      this.#waiting.shift()?.();
    }
  }

  #checked(call: string, result: number): number {
    if (result === -1) throw exhausted(call, this.#koffi.errno());
    return result;
  }
}

const CALLS = {
  memfd_create: ["int", ["const char *", "uint"]],
  posix_fallocate: ["int", ["int", "int64_t", "int64_t"]],
  fallocate: ["int", ["int", "int", "int64_t", "int64_t"]],
  fcntl: ["int", ["int", "int", "int"]],
  mmap: ["intptr_t", ["uintptr_t", "size_t", "int", "int", "int", "int64_t"]],
  munmap: ["int", ["uintptr_t", "size_t"]],
  madvise: ["int", ["uintptr_t", "size_t", "int"]],
  getsockopt: ["int", ["int", "int", "int", "void *", "void *"]],
} as const;

/** struct msghdr with one struct iovec. */
function messageType(koffi: Koffi) {
  const part = koffi.struct({ start: "void *", nbytes: "size_t" });
  return koffi.struct({
    name: "void *",
    nameBytes: "uint32_t",
    parts: koffi.pointer(part),
    partCount: "size_t",
    control: "void *",
    controlBytes: "size_t",
    flags: "int",
  });
}

interface MappingCalls {
  view(start: number, length: number): ArrayBuffer;
  watch(view: ArrayBuffer, mapping: Mapping): void;
  populate(start: number, length: number): Promise<unknown>;
  hide(start: number, length: number): void;
  unmap(start: number, length: number): void;
}

/**
 * A file in this process's memory. After `close` views of it show zeros, so that a late reader or writer meets nothing
 * and does not crash; the addresses are given back when the last view is garbage.
 */
export class Mapping {
  readonly nbytes: number;
  readonly #address: number;
  readonly #calls: MappingCalls;
  #viewCount = 0;
  #isClosed = false;

  constructor(address: number, nbytes: number, calls: MappingCalls) {
    this.#address = address;
    this.nbytes = nbytes;
    this.#calls = calls;
  }

  /** Bytes of it as an ArrayBuffer of its own. Counts as memory of that size to the garbage collector. */
  view(start: number, length: number): ArrayBuffer {
    if (this.#isClosed || start < 0 || length <= 0 || start + length > this.nbytes) {
      throw new Error(`no view of ${length} bytes at ${start} in a mapping of ${this.nbytes}`);
    }
    const view = this.#calls.view(this.#address + start, length);
    this.#viewCount += 1;
    this.#calls.watch(view, this);
    return view;
  }

  /** Brings all pages of a writable mapping into reach, off the event loop. */
  async populate(): Promise<void> {
    await this.#calls.populate(this.#address, this.nbytes);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#viewCount === 0) this.#calls.unmap(this.#address, this.nbytes);
    else this.#calls.hide(this.#address, this.nbytes);
  }

  /** For the registry: a view is garbage. */
  viewEnded(): void {
    this.#viewCount -= 1;
    if (this.#isClosed && this.#viewCount === 0) this.#calls.unmap(this.#address, this.nbytes);
  }
}

function exhausted(call: string, errno: number): PyisolateError {
  return new PyisolateError("SHARED_MEMORY_EXHAUSTED", `${call} for shared memory failed: ${nameOf(errno)}`, {
    next: "Free memory of the machine, or raise its limits of files, locked memory and mappings.",
  });
}

function nameOf(errno: number): string {
  return getSystemErrorName(-errno);
}

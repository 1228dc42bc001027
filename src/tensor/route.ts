// Route: how one pack comes to its segments, seen from the host. Must not know tensors.

import type { Socket } from "node:net";
import type { PyisolateError } from "../errors.ts";
import { DescriptorSender } from "./descriptors.ts";
import type { Native } from "./native.ts";
import {
  type Domain,
  FileSegment,
  MemorySegment,
  type Segment,
  type SegmentRoute,
  type SegmentUser,
} from "./segment.ts";

export interface Route {
  readonly name: SegmentRoute;
  /** Rejects with SHARED_MEMORY_EXHAUSTED. */
  make(writer: SegmentUser | undefined, domain: Domain, nbytes: number): Promise<Segment>;
  /** Makes sure that the pack can open it; false: it cannot. */
  show(segment: Segment): boolean;
  /** For the attach frame. */
  pathOf(segment: Segment): string | undefined;
  /** What goes beside the attach frame. Raises PEER_BROKEN, PROTOCOL_VIOLATION. */
  send(segment: Segment, number: number, pack: SegmentUser): void;
  /** The pack has it no more. false: nobody else can be shown it either. */
  hide(segment: Segment): boolean;
  close(): void;
}

/** As descriptors, over a second socket of the worker. */
export class DescriptorRoute implements Route {
  readonly name = "descriptor";
  readonly #native: Native;
  readonly #sender: DescriptorSender;

  /** Owns the connection. `onViolation`: once, when the worker sent a byte or takes nothing. */
  constructor(native: Native, connection: Socket, onViolation: (error: PyisolateError) => void) {
    this.#native = native;
    this.#sender = new DescriptorSender(native, connection, onViolation);
  }

  make(writer: SegmentUser | undefined, domain: Domain, nbytes: number): Promise<Segment> {
    return MemorySegment.make(this.#native, nbytes, writer, domain);
  }

  show(): boolean {
    return true;
  }

  pathOf(): undefined {
    return undefined;
  }

  send(segment: Segment, number: number, pack: SegmentUser): void {
    (segment as MemorySegment).lendDescriptor(pack, (descriptor) =>
      this.#sender.send(number, segment.nbytes, descriptor),
    );
  }

  hide(): boolean {
    return true;
  }

  close(): void {
    this.#sender.close();
  }
}

/** As files of a directory that is mounted into the container. Borrowed: files are made and removed in it. */
export class PathRoute implements Route {
  readonly name = "path";
  readonly #directory: string;
  readonly #nextName: () => string;

  /** `nextName`: of a file; never the same twice in one program, as files are linked into other directories. */
  constructor(directory: string, nextName: () => string) {
    this.#directory = directory;
    this.#nextName = nextName;
  }

  make(writer: SegmentUser | undefined, domain: Domain, nbytes: number): Promise<Segment> {
    return FileSegment.make({ directory: this.#directory, name: this.#nextName() }, nbytes, writer, domain);
  }

  show(segment: Segment): boolean {
    return (segment as FileSegment).linkInto(this.#directory);
  }

  pathOf(segment: Segment): string {
    return (segment as FileSegment).name;
  }

  send(): void {}

  hide(segment: Segment): boolean {
    return (segment as FileSegment).unlinkFrom(this.#directory);
  }

  close(): void {}
}

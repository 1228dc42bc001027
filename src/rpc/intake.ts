// Intake: how fast bytes are turned into frames. A peer that sends without end gets a bounded share of each turn of
// the event loop. Must not know what frames mean.

import { FrameReader, type FrameSink } from "./frame.ts";
import { PACE } from "./kinds.ts";
import type { Transport } from "./transport.ts";

export interface IntakeOptions {
  readonly sink: FrameSink;
  readonly transport: Pick<Transport, "pause" | "resume">;
  /** Whatever the sink raised; nothing is read after it. */
  readonly onFault: (error: unknown) => void;
  /** All bytes were handled and no more will come. */
  readonly onEnd: (isInsideFrame: boolean, error: Error | undefined) => void;
}

export class Intake {
  readonly #options: IntakeOptions;
  readonly #reader: FrameReader;
  readonly #chunks: Buffer[] = [];
  /** What was handled since the event loop last had its turn, or longer ago. */
  #frames = 0;
  #bytes = 0;
  #isTurnAwaited = false;
  #isPaused = false;
  #isClosed = false;
  #end: { readonly error: Error | undefined } | undefined;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#reader = new FrameReader(options.sink);
  }

  push(chunk: Buffer): void {
    if (this.#isClosed) return;
    this.#chunks.push(chunk);
    if (this.#chunks.length === 1 && !this.#isPaused) this.#beginChunk();
  }

  end(error: Error | undefined): void {
    this.#end = { error };
    this.#finish();
  }

  /** Drops what was not handled. */
  close(): void {
    this.#isClosed = true;
    this.#chunks.length = 0;
    this.#reader.feed(Buffer.alloc(0));
  }

  #beginChunk(): void {
    this.#reader.feed(this.#chunks[0] as Buffer);
    this.#bytes += (this.#chunks[0] as Buffer).byteLength;
    this.#run();
  }

  #run(): void {
    while (this.#chunks.length > 0) {
      if (this.#frames >= PACE.turnFrames || this.#bytes > PACE.turnBytes) {
        this.#pause();
        break;
      }
      const wanted = PACE.turnFrames - this.#frames;
      const frames = this.#read(wanted);
      this.#frames += frames;
      if (frames === wanted) continue;
      this.#chunks.shift();
      const next = this.#chunks[0];
      if (next !== undefined) {
        this.#reader.feed(next);
        this.#bytes += next.byteLength;
      }
    }
    // Small traffic pays for a turn only now and then.
    if (this.#frames * 2 > PACE.turnFrames || this.#bytes * 2 > PACE.turnBytes) this.#awaitTurn();
    this.#finish();
  }

  /** Frames handled; after a fault, or when the sink closed this intake, none are left. */
  #read(maxFrames: number): number {
    try {
      return this.#reader.read(maxFrames);
    } catch (error) {
      this.close();
      this.#options.onFault(error);
      return 0;
    }
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#options.transport.pause();
    this.#awaitTurn();
  }

  #awaitTurn(): void {
    if (this.#isTurnAwaited) return;
    this.#isTurnAwaited = true;
    setImmediate(() => {
      this.#isTurnAwaited = false;
      this.#frames = 0;
      this.#bytes = 0;
      if (!this.#isPaused) return;
      this.#isPaused = false;
      this.#run();
      if (!this.#isPaused && !this.#isClosed) this.#options.transport.resume();
    });
  }

  #finish(): void {
    if (this.#end === undefined || this.#chunks.length > 0 || this.#isClosed) return;
    this.#isClosed = true;
    this.#options.onEnd(this.#reader.isInsideFrame, this.#end.error);
  }
}

// Reading: a long look at a folder of this machine. It ends between two files, or two parts of one, when its reader gives up,
// and says how far it is when it takes long. Must not know what is read for.

import { approximateSize } from "../manifest/sizes.ts";

/** Between two notes; shorter readings are over before anybody wonders. */
const noteIntervalMs = 2000;

export interface ReadingOptions {
  /** How the folder is called in a note. */
  readonly folder: string;
  readonly signal?: AbortSignal | undefined;
  readonly onNote: (text: string) => void;
  /** Milliseconds. */
  readonly now: () => number;
}

export class Reading {
  readonly #options: ReadingOptions;
  #noteDueMs: number;
  #found = 0;
  #done = 0;
  #doneBytes = 0;

  constructor(options: ReadingOptions) {
    this.#options = options;
    this.#noteDueMs = options.now() + noteIntervalMs;
  }

  /** One more file is there to be read. Raises the signal's reason once it is aborted; so do the others. */
  found(): void {
    this.#found += 1;
    this.#goOn();
  }

  /** Some of a file's bytes were read. */
  read(bytes: number): void {
    this.#doneBytes += bytes;
    this.#goOn();
  }

  /** A file was read to its end. */
  finished(): void {
    this.#done += 1;
    this.#goOn();
  }

  throwIfAborted(): void {
    this.#options.signal?.throwIfAborted();
  }

  #goOn(): void {
    this.throwIfAborted();
    const { folder, now, onNote } = this.#options;
    if (now() < this.#noteDueMs) return;
    this.#noteDueMs = now() + noteIntervalMs;
    const isLooking = this.#done === 0 && this.#doneBytes === 0;
    const soFar = isLooking
      ? `${this.#found} files found`
      : `${this.#done} of ${this.#found} files, ${approximateSize(this.#doneBytes)}`;
    onNote(`reading ${folder}: ${soFar} so far`);
  }
}

/** A reading that nobody waits for: of a few files. */
export function shortReading(): Reading {
  return new Reading({ folder: "", onNote: () => {}, now: () => 0 });
}

// Inflow: the items of one call's stream, as their consumer takes them. Each one taken lets the producer send another.
// Must not know frames or sessions.

import type { Value } from "./values.ts";

/** What an open call offers its inflow. */
export interface OpenStream {
  /** The consumer has one item more. */
  taken(): void;
  /** It wants no more of them. */
  stop(): void;
}

type Begin = (
  onItem: (item: Value) => void,
  resolve: (last: Value) => void,
  reject: (error: unknown) => void,
) => OpenStream;

interface Waiting {
  readonly resolve: (result: IteratorResult<Value, Value>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The call begins with the first `next`. Its items come in order; then the call's last value as the iterator's return
 * value, or its error. `return`, which leaving a `for await` loop calls, cancels the call.
 */
export class Inflow implements AsyncIterableIterator<Value, Value> {
  readonly #begin: Begin;
  readonly #items: Value[] = [];
  readonly #waiting: Waiting[] = [];
  #stream: OpenStream | undefined;
  /** Hands the end to who asks for more than there is; set when no further item will come. */
  #end: ((waiting: Waiting) => void) | undefined;

  constructor(begin: Begin) {
    this.#begin = begin;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Value, Value>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (this.#stream === undefined && this.#end === undefined) this.#open();
      this.#serve();
    });
  }

  return(): Promise<IteratorResult<Value, Value>> {
    this.#finish(({ resolve }) => resolve({ done: true, value: null }));
    this.#items.length = 0;
    this.#serve();
    this.#stream?.stop();
    return Promise.resolve({ done: true, value: null });
  }

  #open(): void {
    try {
      this.#stream = this.#begin(
        (item) => {
          this.#items.push(item);
          this.#serve();
        },
        (value) => this.#finish(({ resolve }) => resolve({ done: true, value })),
        (error) => this.#finish(({ reject }) => reject(error)),
      );
    } catch (error) {
      this.#finish(({ reject }) => reject(error));
    }
  }

  /** Whoever asks again after the end is told that there is no more. */
  #finish(tell: (waiting: Waiting) => void): void {
    if (this.#end !== undefined) return;
    this.#end = (waiting) => {
      this.#end = ({ resolve }) => resolve({ done: true, value: null });
      tell(waiting);
    };
    this.#serve();
  }

  #serve(): void {
    while (this.#waiting.length > 0) {
      if (this.#items.length > 0) {
        this.#waiting.shift()?.resolve({ done: false, value: this.#items.shift() as Value });
        this.#stream?.taken();
      } else if (this.#end !== undefined) this.#end(this.#waiting.shift() as Waiting);
      else return;
    }
  }
}

// Callee: calls of the other side, from the session to the method and back. A side that does not read gets no more work
// done: its calls wait, its streams stop, its events are dropped. Must not know frames or sockets.

import { PyisolateError } from "../errors.ts";
import { type EventName, errorText, eventBody, resultBody } from "./bodies.ts";
import type { Session } from "./session.ts";
import { OutgoingAttachments, type Value, type ValueCodec, type ValueExtension, waitUntilPrepared } from "./values.ts";

/** An AsyncIterable, such as an async generator, gives a stream: its items, and what it returns as the last value. */
export type Method = (
  args: Value[],
  context: CallContext,
) => Value | AsyncIterable<Value> | Promise<Value | AsyncIterable<Value>>;

export interface CallContext {
  /** Aborted when the caller cancels or the connection ends. */
  readonly signal: AbortSignal;
  /**
   * Tells the caller. Dropped when the call or the connection has ended, or when the other side does not read.
   * Raises VALUE_UNSUPPORTED.
   */
  event(name: EventName, data: Value): void;
}

export interface CalleeOptions {
  readonly session: Pick<Session<object>, "result" | "error" | "notify" | "leases" | "acceptsItems" | "canSendItem">;
  readonly methods: Readonly<Record<string, Method>>;
  readonly codec: ValueCodec;
  readonly extension: ValueExtension | undefined;
  /** Whether the way out has room. */
  readonly hasRoom: () => boolean;
}

export class Callee {
  readonly #options: CalleeOptions;
  readonly #contexts = new Map<number, Context>();
  /** Calls that begin when the other side reads again. */
  readonly #waiting = new Map<number, () => void>();

  constructor(options: CalleeOptions) {
    this.#options = options;
  }

  run(id: number, name: string, args: Value[]): void {
    if (this.#options.hasRoom()) this.#begin(id, name, args);
    else this.#waiting.set(id, () => this.#begin(id, name, args));
  }

  #begin(id: number, name: string, args: Value[]): void {
    const { methods } = this.#options;
    const method = Object.hasOwn(methods, name) ? methods[name] : undefined;
    if (method === undefined) {
      const offered = Object.keys(methods).join(", ") || "none";
      this.#fail(id, new PyisolateError("METHOD_UNKNOWN", `no method "${name}"; there are: ${offered}`));
      return;
    }
    const context = new Context((event, data) => this.#notify(id, context, event, data));
    this.#contexts.set(id, context);
    // The promise comes from our own function, so neither a throw nor a rejection escapes.
    void runMethod(method, args, context).then(
      (value) => {
        if (isStream(value)) void this.#produce(id, context, value);
        else this.#answer(id, context, value);
      },
      (error: unknown) => this.#answerError(id, context, error),
    );
  }

  /** The caller no longer wants the answer. */
  cancelled(id: number): void {
    if (this.#waiting.delete(id)) this.#fail(id, asCancelled(undefined));
    else this.#contexts.get(id)?.abort();
  }

  /** The caller has taken an item of the call's stream. */
  moreWanted(id: number): void {
    this.#contexts.get(id)?.wake();
  }

  /** The way out has become free. */
  drained(): void {
    for (const [id, begin] of this.#waiting) {
      if (!this.#options.hasRoom()) return;
      this.#waiting.delete(id);
      begin();
    }
    for (const context of this.#contexts.values()) context.wake();
  }

  /** The connection has ended. */
  close(): void {
    const contexts = [...this.#contexts.values()];
    this.#contexts.clear();
    this.#waiting.clear();
    for (const context of contexts) context.abort();
  }

  #notify(id: number, context: Context, event: EventName, data: Value): void {
    const { session, codec, hasRoom } = this.#options;
    if (this.#contexts.get(id) !== context || !hasRoom()) return;
    session.notify(id, eventBody(event, data, codec, new OutgoingAttachments(session.leases)));
  }

  /** The producer is asked for an item only when there is room for it: a slow consumer stops it, and nobody else. */
  async #produce(id: number, context: Context, values: AsyncIterable<Value>): Promise<void> {
    const { session, codec } = this.#options;
    const iterator = values[Symbol.asyncIterator]();
    try {
      if (!session.acceptsItems) throw new PyisolateError("VALUE_UNSUPPORTED", "the caller takes no stream");
      for (;;) {
        while (!session.canSendItem(id)) {
          if (context.isAborted) throw asCancelled(undefined);
          await context.waitUntilWoken();
        }
        const { done, value } = await iterator.next();
        if (done === true) {
          this.#answer(id, context, value ?? null);
          return;
        }
        await this.#prepare(id, context, value);
        if (context.isAborted) throw asCancelled(undefined);
        session.result(id, resultBody(value, codec, new OutgoingAttachments(session.leases)), false);
      }
    } catch (error) {
      this.#answerError(id, context, error);
      await iterator.return?.().catch(() => {}); // the call has its answer
    }
  }

  #answer(id: number, context: Context, value: Value): void {
    try {
      const isPrepared = this.#prepare(id, context, value);
      if (isPrepared === undefined) this.#sendLast(id, context, value);
      else {
        void isPrepared.then(
          () => this.#sendLast(id, context, value),
          (error: unknown) => this.#answerError(id, context, error),
        );
      }
    } catch (error) {
      this.#answerError(id, context, error); // the extension cannot prepare it
    }
  }

  /** undefined: the value can be encoded at once. */
  #prepare(id: number, context: Context, value: Value): Promise<void> | undefined {
    const { extension } = this.#options;
    const isPrepared = extension?.prepare?.([value]);
    if (isPrepared === undefined) return undefined;
    return waitUntilPrepared(extension, [value], isPrepared, () => this.#contexts.get(id) !== context);
  }

  #sendLast(id: number, context: Context, value: Value): void {
    if (!this.#forget(id, context)) return;
    const { session, codec } = this.#options;
    try {
      session.result(id, resultBody(value, codec, new OutgoingAttachments(session.leases)));
    } catch (error) {
      this.#fail(id, error); // the result has no form on the wire
    }
  }

  #answerError(id: number, context: Context, error: unknown): void {
    if (this.#forget(id, context)) this.#fail(id, context.isAborted ? asCancelled(error) : error);
  }

  /** false: the connection has ended. */
  #forget(id: number, context: Context): boolean {
    return this.#contexts.get(id) === context && this.#contexts.delete(id);
  }

  #fail(id: number, error: unknown): void {
    this.#options.session.error(id, errorText(error));
  }
}

/** What a running method gets. The signal is made when it is asked for. */
class Context implements CallContext {
  readonly event: CallContext["event"];
  #controller: AbortController | undefined;
  #wake: (() => void) | undefined;
  isAborted = false;

  constructor(event: CallContext["event"]) {
    this.event = event;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.isAborted) this.#controller.abort();
    return this.#controller.signal;
  }

  abort(): void {
    this.isAborted = true;
    this.#controller?.abort();
    this.wake();
  }

  waitUntilWoken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    this.#wake?.();
  }
}

async function runMethod(method: Method, args: Value[], context: CallContext): Promise<Value | AsyncIterable<Value>> {
  return method(args, context);
}

function isStream(value: Value | AsyncIterable<Value>): value is AsyncIterable<Value> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

/** The answer to a call that was cancelled and whose method raised, or stopped. */
function asCancelled(cause: unknown): PyisolateError {
  return new PyisolateError("CALL_CANCELLED", "the method stopped because its call was cancelled", {}, cause);
}

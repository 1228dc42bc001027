// Share: work that several callers want at the same time is done once. Per engine, so that programs with two do not mix.

import type { Engine } from "../engine/engine.ts";

const running = new WeakMap<Engine, Map<string, Promise<unknown>>>();

/**
 * Does `work`, or waits for the same `key`'s work that is going on already. When the caller that does it aborts,
 * the next one who waits takes over. An abort of `signal` ends only this caller's waiting.
 */
export async function shareWork<T>(
  engine: Engine,
  key: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  const ofEngine = running.get(engine) ?? new Map<string, Promise<unknown>>();
  running.set(engine, ofEngine);
  for (;;) {
    signal?.throwIfAborted();
    const others = ofEngine.get(key);
    if (others === undefined) break;
    const outcome = await orAborted(others as Promise<Outcome<T>>, signal);
    if ("value" in outcome) return outcome.value;
    if (!outcome.wasAborted) throw outcome.error;
  }
  const own = settle(work, signal).finally(() => ofEngine.delete(key));
  ofEngine.set(key, own);
  const outcome = await own;
  if ("value" in outcome) return outcome.value;
  throw outcome.error;
}

type Outcome<T> = { readonly value: T } | { readonly error: unknown; readonly wasAborted: boolean };

/** Never rejects: a failure that nobody else waits for must not become an unhandled rejection. */
async function settle<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<Outcome<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error, wasAborted: signal?.aborted ?? false };
  }
}

async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  let stopListening = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    stopListening = () => signal.removeEventListener("abort", onAbort);
  });
  return Promise.race([work, aborted]).finally(stopListening);
}

// Settles: waiting for a promise for a bounded time. Must not know what is waited for.

import { setTimeout as sleep } from "node:timers/promises";

/** Whether `promise` resolves within `milliseconds`; rejects when it rejects first. Leaves no timer behind. */
export async function settlesWithin(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  const timer = new AbortController();
  const timeout = sleep(milliseconds, false, { signal: timer.signal }).catch(() => false);
  try {
    return await Promise.race([promise.then(() => true), timeout]);
  } finally {
    timer.abort();
  }
}

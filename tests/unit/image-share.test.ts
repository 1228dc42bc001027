// Work wanted by several callers at once.

import { expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { shareWork } from "../../src/image/share.ts";

/** A promise and the functions that settle it. */
function held<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}

const engine = () => ({}) as Engine;

test("the same key at the same time is done once, for all", async () => {
  const shared = engine();
  const work = held<number>();
  let times = 0;
  const ask = () =>
    shareWork(shared, "a", undefined, () => {
      times++;
      return work.promise;
    });
  const all = Promise.all([ask(), ask(), ask()]);
  work.resolve(7);
  expect(await all).toEqual([7, 7, 7]);
  expect(times).toBe(1);
});

test("other keys, other engines, and later calls are done again", async () => {
  const shared = engine();
  let times = 0;
  const work = async () => ++times;
  await Promise.all([shareWork(shared, "a", undefined, work), shareWork(shared, "b", undefined, work)]);
  await shareWork(engine(), "a", undefined, work);
  await shareWork(shared, "a", undefined, work);
  expect(times).toBe(4);
});

test("a failure is everybody's", async () => {
  const shared = engine();
  const work = held<number>();
  const all = Promise.allSettled([0, 1].map(() => shareWork(shared, "a", undefined, () => work.promise)));
  work.reject(new Error("no"));
  expect((await all).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
});

test("when the caller who does it aborts, the next one does it", async () => {
  const shared = engine();
  const abort = new AbortController();
  const first = shareWork(shared, "a", abort.signal, () => {
    const work = held<number>();
    abort.signal.addEventListener("abort", () => work.reject(abort.signal.reason));
    return work.promise;
  });
  const second = shareWork(shared, "a", undefined, async () => 2);
  abort.abort(new Error("stop"));
  await expect(first).rejects.toThrow("stop");
  expect(await second).toBe(2);
});

test("a caller who waits and aborts ends alone", async () => {
  const shared = engine();
  const work = held<number>();
  const abort = new AbortController();
  const first = shareWork(shared, "a", undefined, () => work.promise);
  const second = shareWork(shared, "a", abort.signal, async () => 2);
  abort.abort(new Error("stop"));
  await expect(second).rejects.toThrow("stop");
  work.resolve(1);
  expect(await first).toBe(1);
});

import { expect, test } from "vitest";
import { settlesWithin } from "../../src/container/settles.ts";

test("says whether a promise resolves in time, and passes its rejection on", async () => {
  expect(await settlesWithin(Promise.resolve(), 60_000)).toBe(true);
  expect(await settlesWithin(new Promise(() => undefined), 1)).toBe(false);
  await expect(settlesWithin(Promise.reject(new Error("broken")), 60_000)).rejects.toThrow("broken");
});

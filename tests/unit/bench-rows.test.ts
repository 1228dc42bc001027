import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { rivals } from "../../scripts/lib/rivals.mjs";
import { parseCpus } from "../bench/affinity.ts";
import { type Contestant, interleave, rateOf } from "../bench/contestant.ts";
import { figures } from "../bench/figures.ts";
import { formatRow } from "../bench/report.ts";
import { type Goal, isFasterThanRivals, isMoreThanRivals, isWithinLimit, rowOf } from "../bench/row.ts";
import { spreadOf } from "../bench/statistics.ts";

describe("percentiles", () => {
  test("are samples that occurred, by nearest rank, whatever the order", () => {
    const samples = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect(spreadOf(samples)).toEqual({ p50: 50, p95: 95 });
  });

  test("compare numbers as numbers", () => {
    expect(spreadOf([9, 100, 10])).toEqual({ p50: 10, p95: 100 });
  });

  test("of one sample are that sample, and of none an error", () => {
    expect(spreadOf([7])).toEqual({ p50: 7, p95: 7 });
    expect(() => spreadOf([])).toThrow("no samples");
  });
});

/** A contestant whose samples are all `value`; writes down its turns. */
function steady(name: string, role: Contestant["role"], value: number, turns: string[] = []): Contestant {
  const measure = async (count: number) => {
    turns.push(name);
    return Array.from({ length: count }, () => value);
  };
  return { name, role, measure };
}

test("contestants take turns, each round begins with another one, and warm-up is not counted", async () => {
  const turns: string[] = [];
  const contestants = [steady("a", "ours", 1, turns), steady("b", "rival", 2, turns), steady("c", "limit", 3, turns)];
  const measured = await interleave(contestants, { rounds: 4, perRound: 5, warmUp: 9 });
  expect(turns.join("")).toBe("abc" + "abc" + "bca" + "cab" + "abc");
  expect(measured.map(({ samples }) => samples.length)).toEqual([20, 20, 20]);
});

/** Fails from its second turn on. */
function failing(role: Contestant["role"]): Contestant {
  let turns = 0;
  const measure = async () => {
    turns += 1;
    if (turns > 1) throw new Error("no tensors of that size");
    return [9];
  };
  return { name: "brittle", role, measure };
}

test("calls a second count all calls, with no more in flight than asked for", async () => {
  let running = 0;
  let most = 0;
  let calls = 0;
  const call = async () => {
    calls += 1;
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setTimeout(resolve, 1));
    running -= 1;
  };
  expect(await rateOf(call, 4, 10)).toBeGreaterThan(0);
  expect(calls).toBe(12);
  expect(most).toBe(4);
});

const goal: Goal = {
  text: "3 × faster, 2 × the limit",
  isMet: (columns) => isFasterThanRivals(columns, 3) && isWithinLimit(columns, { times: 2 }),
};
const heading = { id: "D2", host: "typescript", variant: "sync", unit: "ms", goal } as const;
const measure = (...contestants: Contestant[]) => interleave(contestants, { rounds: 2, perRound: 2, warmUp: 0 });

describe("a row", () => {
  test("has exactly the keys of out/bench.json", async () => {
    const ours = steady("ours", "ours", 1);
    const row = rowOf(heading, await measure(ours, steady("slow", "rival", 3), steady("least", "limit", 0.5)));
    expect(row).toEqual({
      id: "D2",
      host: "typescript",
      variant: "sync",
      unit: "ms",
      n: 4,
      ours: { p50: 1, p95: 1 },
      rivals: [{ name: "slow", p50: 3, p95: 3 }],
      limit: { name: "least", p50: 0.5, p95: 0.5 },
      goal: "3 × faster, 2 × the limit",
      met: true,
    });
  });

  test.each([
    { why: "a rival is too fast", rivals: [3, 2.9], limit: 0.5 },
    { why: "ours is too far from the limit", rivals: [3], limit: 0.4 },
    { why: "no rival was measured", rivals: [], limit: 0.5 },
    { why: "no limit was measured", rivals: [3], limit: undefined },
  ])("is not met when $why", async ({ rivals, limit }) => {
    const others = rivals.map((value) => steady("rival", "rival", value));
    const limits = limit === undefined ? [] : [steady("limit", "limit", limit)];
    const row = rowOf(heading, await measure(steady("ours", "ours", 1), ...others, ...limits));
    expect(row.met).toBe(false);
    expect("limit" in row).toBe(limit !== undefined);
  });

  test("says which rival failed and why, and is judged by the others", async () => {
    const others = [steady("slow", "rival", 3), failing("rival"), steady("least", "limit", 0.5)];
    const row = rowOf(heading, await measure(steady("ours", "ours", 1), ...others));
    expect(row.rivals.map(({ name }) => name)).toEqual(["slow"]);
    expect(row.notes).toEqual(["brittle failed: no tensors of that size"]);
    expect(row.met).toBe(true);
    expect(formatRow(row, "no-op call")).toContain("brittle failed: no tensors of that size");
  });

  test("is not made when ours or a limit fails", async () => {
    await expect(measure(failing("ours"), steady("slow", "rival", 3))).rejects.toThrow("no tensors");
    await expect(measure(steady("ours", "ours", 1), failing("limit"))).rejects.toThrow("no tensors");
  });

  test("of which more is better wants more than every rival", () => {
    const columns = { ours: { p50: 4, p95: 4 }, rivals: [{ name: "a", p50: 2, p95: 2 }] };
    expect(isMoreThanRivals(columns, 2)).toBe(true);
    expect(isMoreThanRivals(columns, 2.1)).toBe(false);
    expect(isMoreThanRivals({ ...columns, rivals: [] }, 1)).toBe(false);
  });

  test("prints its ratios and whether the goal is met", async () => {
    const ours = steady("ours", "ours", 1);
    const row = rowOf(heading, await measure(ours, steady("slow", "rival", 4), steady("least", "limit", 0.8)));
    const text = formatRow(row, "no-op call");
    expect(text).toContain("ours takes 0.250 ×");
    expect(text).toContain("ours takes 1.25 ×");
    expect(text).toContain("n 4");
    expect(text).toContain(": met");
  });
});

test("every figure is one file named after its id", () => {
  const files = readdirSync(join(import.meta.dirname, "../bench/figures"));
  expect(
    Object.keys(figures)
      .map((id) => `${id.toLowerCase()}.ts`)
      .sort(),
  ).toEqual(files.sort());
});

test("every environment that a figure needs can be made", () => {
  const needed = Object.values(figures).flatMap(({ environments }) => environments);
  expect(Object.keys(rivals)).toEqual(expect.arrayContaining(needed));
});

test("a list of CPUs is read with its ranges", () => {
  expect(parseCpus("0,2-4,7")).toEqual([0, 2, 3, 4, 7]);
});

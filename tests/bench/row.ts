// Row: one line of out/bench.json, and whether its goal is met. Must not know how anything was measured.

import type { Measured } from "./contestant.ts";
import { type Spread, spreadOf } from "./statistics.ts";

export type Unit = "ms" | "calls/s" | "bytes" | "s";

export interface Named extends Spread {
  readonly name: string;
}

/** The three columns of a figure. */
export interface Columns {
  readonly ours: Spread;
  readonly rivals: readonly Named[];
  readonly limit?: Named;
}

export interface Row extends Columns {
  readonly id: string;
  readonly host: "typescript" | "python";
  readonly variant: string;
  readonly unit: Unit;
  /** Samples of ours; rivals and limit have as many. */
  readonly n: number;
  readonly goal: string;
  readonly met: boolean;
  /** Absent when there is none: rivals that failed and why, bytes copied. */
  readonly notes?: readonly string[];
}

export interface Goal {
  readonly text: string;
  isMet(columns: Columns): boolean;
}

/** What a row says about the figure beside its numbers. */
export interface Heading {
  readonly id: string;
  readonly host: "typescript" | "python";
  readonly variant: string;
  readonly unit: Unit;
  readonly goal: Goal;
  readonly notes?: readonly string[];
}

/** Exactly one contestant must be ours, at most one the limit. */
export function rowOf(heading: Heading, measured: readonly Measured[]): Row {
  const columns = columnsOf(measured);
  const { goal, notes: given = [], ...head } = heading;
  const n = measured.find(({ contestant }) => contestant.role === "ours")?.samples.length ?? 0;
  const notes = [...given, ...failuresOf(measured)];
  return {
    ...head,
    n,
    ...columns,
    goal: goal.text,
    met: goal.isMet(columns),
    ...(notes.length === 0 ? {} : { notes }),
  };
}

function failuresOf(measured: readonly Measured[]): readonly string[] {
  return measured.flatMap(({ contestant, failure }) =>
    failure === undefined ? [] : [`${contestant.name} failed: ${failure}`],
  );
}

function columnsOf(measured: readonly Measured[]): Columns {
  const named = (role: string) =>
    measured
      .filter(({ contestant, failure }) => contestant.role === role && failure === undefined)
      .map(({ contestant, samples }) => ({ name: contestant.name, ...rounded(spreadOf(samples)) }));
  const [ours] = named("ours");
  const [limit] = named("limit");
  if (ours === undefined) throw new Error("a row needs a contestant that is ours, got none");
  return {
    ours: { p50: ours.p50, p95: ours.p95 },
    rivals: named("rival"),
    ...(limit === undefined ? {} : { limit }),
  };
}

/** Four digits after the point: a tenth of a microsecond in milliseconds. */
function rounded({ p50, p95 }: Spread): Spread {
  return { p50: Number(p50.toFixed(4)), p95: Number(p95.toFixed(4)) };
}

/** Ours takes at most a `times`-th of the median of every rival; not met when no rival was measured. */
export function isFasterThanRivals({ ours, rivals }: Columns, times: number): boolean {
  return rivals.length > 0 && rivals.every((rival) => ours.p50 * times <= rival.p50);
}

/** The same for figures of which more is better. */
export function isMoreThanRivals({ ours, rivals }: Columns, times: number): boolean {
  return rivals.length > 0 && rivals.every((rival) => ours.p50 >= rival.p50 * times);
}

/** Ours takes at most `times` the limit's median and `more` on top; not met when no limit was measured. */
export function isWithinLimit({ ours, limit }: Columns, { times = 1, more = 0 }): boolean {
  return limit !== undefined && ours.p50 <= limit.p50 * times + more;
}

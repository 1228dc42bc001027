// Statistics: samples in, percentiles out. Must not know what was measured.

export interface Spread {
  readonly p50: number;
  readonly p95: number;
}

/** The median and the 95th percentile of at least one sample, in the samples' own unit. */
export function spreadOf(samples: readonly number[]): Spread {
  const sorted = Float64Array.from(samples).sort();
  return { p50: percentile(sorted, 50), p95: percentile(sorted, 95) };
}

/** The smallest sample that at least `percent` of all samples do not exceed (nearest rank): always one that occurred. */
function percentile(sorted: Float64Array, percent: number): number {
  const rank = Math.max(1, Math.ceil((percent / 100) * sorted.length));
  const value = sorted[rank - 1];
  if (value === undefined) throw new RangeError("no samples, expected at least one");
  return value;
}

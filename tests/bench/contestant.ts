// Contestants: who is measured, and in which order. Everyone runs in the same rounds, so whatever else the machine does
// meanwhile meets all of them alike. Must not know containers or rivals.

export interface Contestant {
  readonly name: string;
  readonly role: "ours" | "rival" | "limit";
  /** Measures `count` times, one after the other; gives the samples. */
  measure(count: number): Promise<readonly number[]>;
}

export interface Rounds {
  readonly rounds: number;
  /** Measurements of each contestant in each round. */
  readonly perRound: number;
  /** Measurements of each contestant before the first round, thrown away. */
  readonly warmUp: number;
}

export interface Measured {
  readonly contestant: Contestant;
  readonly samples: readonly number[];
}

/** Runs the contestants in turns. Each round begins with another one, so that none always follows the same neighbour. */
export async function interleave(contestants: readonly Contestant[], plan: Rounds): Promise<readonly Measured[]> {
  const measured = contestants.map((contestant) => ({ contestant, samples: [] as number[] }));
  for (const { contestant } of measured) await contestant.measure(plan.warmUp);
  for (let round = 0; round < plan.rounds; round++) {
    const first = round % measured.length;
    for (const { contestant, samples } of [...measured.slice(first), ...measured.slice(0, first)]) {
      samples.push(...(await contestant.measure(plan.perRound)));
    }
  }
  return measured;
}

/** Times one call of `run` after the other, in milliseconds. */
export async function timeEach(count: number, run: () => Promise<unknown>): Promise<readonly number[]> {
  const samples: number[] = [];
  for (let index = 0; index < count; index++) {
    const startedMs = performance.now();
    await run();
    samples.push(performance.now() - startedMs);
  }
  return samples;
}

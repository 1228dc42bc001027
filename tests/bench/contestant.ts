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
  /** Why a rival could not be measured; it has no samples then. */
  readonly failure?: string;
}

interface Taking {
  readonly contestant: Contestant;
  samples: number[];
  failure?: string;
}

/**
 * Runs the contestants in turns. Each round begins with another one, so that none always follows the same neighbour.
 * A rival that fails is out from then on; rejects when ours or a limit fails.
 */
export async function interleave(contestants: readonly Contestant[], plan: Rounds): Promise<readonly Measured[]> {
  const measured = contestants.map((contestant): Taking => ({ contestant, samples: [] }));
  for (const taking of measured) await take(taking, plan.warmUp, { keep: false });
  for (let round = 0; round < plan.rounds; round++) {
    const first = round % measured.length;
    for (const taking of [...measured.slice(first), ...measured.slice(0, first)]) {
      await take(taking, plan.perRound, { keep: true });
    }
  }
  return measured;
}

async function take(taking: Taking, count: number, { keep }: { readonly keep: boolean }): Promise<void> {
  if (taking.failure !== undefined) return;
  try {
    const samples = await taking.contestant.measure(count);
    if (keep) taking.samples.push(...samples);
  } catch (error) {
    if (taking.contestant.role !== "rival") throw error;
    taking.failure = (error as Error).message;
    taking.samples = [];
  }
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

/** Samples that each time themselves: what comes before the first moment measured and after the last is not in them. */
export async function repeat(count: number, measure: () => Promise<number>): Promise<readonly number[]> {
  const samples: number[] = [];
  for (let index = 0; index < count; index++) samples.push(await measure());
  return samples;
}

/** Calls per second with `inFlight` calls of `run` at any time, over about `count` of them. */
export async function rateOf(run: () => Promise<unknown>, inFlight: number, count: number): Promise<number> {
  const each = Math.ceil(count / inFlight);
  const caller = async () => {
    for (let index = 0; index < each; index++) await run();
  };
  const startedMs = performance.now();
  await Promise.all(Array.from({ length: inFlight }, caller));
  return (each * inFlight * 1000) / (performance.now() - startedMs);
}

// Parts: what the limit of moving an array is put together from, all measured in the same turns as ours.

import type { Extension } from "../../src/index.ts";
import { type Contestant, timeEach } from "./contestant.ts";
import type { PythonHost } from "./hosts/host.ts";
import { type MemoryCost, pictureShape, WarmMemory } from "./memory.ts";
import { spreadOf } from "./statistics.ts";

/** Milliseconds. */
export interface Costs extends MemoryCost {
  /** The arithmetic on one picture, in the pack, in warm memory. */
  readonly work: number;
  /** A call that does nothing. */
  readonly noop: number;
}

type Measure = (count: number) => Promise<readonly Costs[]>;

export class Parts {
  readonly #measure: Measure;
  readonly #costs: Costs[] = [];

  constructor(measure: Measure) {
    this.#measure = measure;
  }

  /** The limit whose samples are this sum of the parts. */
  limit(name: string, sum: (costs: Costs) => number): Contestant {
    return {
      name,
      role: "limit",
      measure: async (count) => {
        const costs = await this.#measure(count);
        this.#costs.push(...costs);
        return costs.map(sum);
      },
    };
  }

  /** The sum of the medians; of the warm-up, too. */
  get medians(): Costs {
    const median = (part: keyof Costs) => spreadOf(this.#costs.map((costs) => costs[part])).p50;
    return { copy: median("copy"), comparison: median("comparison"), work: median("work"), noop: median("noop") };
  }
}

/** Parts for arrays of `nbytes` between this program and the pack, which has the nodes of packs/picture. */
export function partsHere(extension: Extension, nbytes: number): Parts {
  const memory = new WarmMemory(nbytes);
  return new Parts(async (count) => {
    const costs: Costs[] = [];
    for (let index = 0; index < count; index++) {
      const { outputs } = await extension.executeNode("Work", { shape: [...pictureShape] });
      const [noop = Number.NaN] = await timeEach(1, () => extension.executeNode("NoOp", {}));
      costs.push({ ...memory.measure(), work: Number(outputs[0]), noop });
    }
    return costs;
  });
}

/** The same between a Python program and its pack. */
export function partsOfPython(host: PythonHost, nbytes: number): Parts {
  return new Parts(async (count) => {
    const memory = await host.ask<[number, number][]>("memory", { nbytes, count });
    const work = await host.ask<number[]>("outputs", { node: "Work", inputs: { shape: pictureShape }, count });
    const noop = await host.ask<number[]>("calls", { node: "NoOp", count });
    return memory.map(([copy, comparison], index) => ({
      copy,
      comparison,
      work: work[index] ?? Number.NaN,
      noop: noop[index] ?? Number.NaN,
    }));
  });
}

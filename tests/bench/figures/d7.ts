// D7: one picture through three packs with packages that cannot be installed together, each writing its result in place;
// the arithmetic of the nodes is taken off. The host compares every byte of what the last one gives.

import type { Extension, ExtensionManager, Tensor } from "../../../src/index.ts";
import { type Contestant, interleave, repeat } from "../contestant.ts";
import { isEqual, pictureBytes, pictureShape, pictureValues } from "../memory.ts";
import { chainPacks } from "../packs.ts";
import { partsHere } from "../parts.ts";
import { productModule } from "../product.ts";
import { type Goal, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

const plan = { rounds: 20, perRound: 3, warmUp: 10 };
const packs = Object.values(chainPacks);
const groupGoalMs = 3;

export const d7: Figure = {
  title: `one picture through three packs (${Object.keys(chainPacks).join(" → ")})`,
  packs,
  environments: [],
  async run(bench: Workbench): Promise<readonly Row[]> {
    await using grouped = bench.newManager("group.yaml");
    bench.say("· D7 in group");
    // In and, when the host looks, out.
    const inGroup = await measure(grouped, { variant: "in group, in place", copies: 2, goalMs: groupGoalMs });
    bench.say("· D7 isolated");
    const isolated = await measure(bench.manager, { variant: "isolated, in place", copies: 4, goalMs: undefined });
    return [inGroup, isolated];
  },
};

interface Variant {
  readonly variant: string;
  /** By us, on the whole way. */
  readonly copies: number;
  /** undefined: it follows from the limit. */
  readonly goalMs: number | undefined;
}

async function measure(manager: ExtensionManager, { variant, copies, goalMs }: Variant): Promise<Row> {
  const chain = await Promise.all(packs.map((pack) => manager.loadExtension(pack)));
  try {
    const first = chain[0];
    if (first === undefined) throw new Error("a chain needs packs");
    const parts = partsHere(first, pictureBytes);
    const calls = chain.length;
    const pictures = await Chain.open(chain);
    const contestants: readonly Contestant[] = [
      { name: "ours", role: "ours", measure: (count) => repeat(count, () => pictures.pass()) },
      parts.limit(
        `${copies} × memcpy + comparison + ${calls} × a no-op call`,
        ({ copy, comparison, noop }) => copies * copy + comparison + calls * noop,
      ),
    ];
    const measured = await interleave(contestants, plan);
    const goal: Goal = {
      text: goalMs === undefined ? "≤ 1.25 × the limit" : `≤ ${goalMs} ms`,
      isMet: ({ ours, limit }) => ours.p50 <= (goalMs ?? 1.25 * (limit?.p50 ?? Number.NaN)),
    };
    const notes = [`bytes copied to bring the packs their inputs: ${pictures.bytesCopied}`];
    return rowOf({ id: "D7", host: "typescript", variant, unit: "ms", goal, notes }, measured);
  } finally {
    for (const extension of chain) await extension.stop();
  }
}

class Chain {
  readonly #extensions: readonly Extension[];
  readonly #makeTensor: (values: Float32Array) => Tensor;
  readonly #values = pictureValues();
  readonly #expected: Float32Array;
  /** By the last pass. */
  bytesCopied = 0;

  static async open(extensions: readonly Extension[]): Promise<Chain> {
    const { Tensor } = await productModule("index.js");
    return new Chain(extensions, (values) => new Tensor("float32", pictureShape, values));
  }

  constructor(extensions: readonly Extension[], makeTensor: (values: Float32Array) => Tensor) {
    this.#extensions = extensions;
    this.#makeTensor = makeTensor;
    this.#expected = this.#values.map((value) => value * 0.5 ** extensions.length);
  }

  /** Milliseconds, without the nodes' own work. */
  async pass(): Promise<number> {
    let image = this.#makeTensor(this.#values.slice());
    let workMs = 0;
    let bytes = 0;
    const startedMs = performance.now();
    for (const extension of this.#extensions) {
      const { outputs, bytesCopied } = await extension.executeNode("Step", { image });
      image.release();
      image = outputs[0] as Tensor;
      workMs += Number(outputs[1]);
      bytes += bytesCopied;
    }
    const isSame = isEqual(image.data, this.#expected);
    const ms = performance.now() - startedMs - workMs;
    image.release();
    this.bytesCopied = bytes;
    if (!isSame) throw new Error("the picture that came through is another one");
    return ms;
  }
}

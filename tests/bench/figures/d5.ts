// D5: a picture there, halved, and back, a fresh one each time, until every byte of the result was compared.
// Variants: the node writes its result where the next reader reads it, or gives a new numpy array; host code looks at
// results by a safe copy (isolated), or where they lie (trusted, as between packs of a group).

import type { Extension, ExtensionManager } from "../../../src/index.ts";
import { Containers } from "../containers.ts";
import { type Contestant, interleave, repeat } from "../contestant.ts";
import type { PythonHost } from "../hosts/host.ts";
import { environments } from "../hosts/rivals.ts";
import { isEqual, pictureBytes, pictureShape, pictureValues } from "../memory.ts";
import { picturePack } from "../packs.ts";
import { type Parts, partsHere, partsOfPython } from "../parts.ts";
import { productModule } from "../product.ts";
import { type Columns, type Goal, isFasterThanRivals, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

const plan = { rounds: 20, perRound: 3, warmUp: 10 };
const rivalNode = "Half";

interface Variant {
  readonly label: string;
  readonly node: string;
  /** By us, there and back. */
  readonly copies: number;
}

const isolated: readonly Variant[] = [
  { label: "in place, isolated", node: "HalfInPlace", copies: 2 },
  { label: "new array, isolated", node: "Half", copies: 3 },
];
const trusted: readonly Variant[] = [
  { label: "in place, trusted", node: "HalfInPlace", copies: 1 },
  { label: "new array, trusted", node: "Half", copies: 2 },
];

export const d5: Figure = {
  title: "picture there, halved, and back",
  packs: [picturePack],
  environments: [environments.coupled, environments.comfyEnv, environments.torch],
  async run(bench: Workbench): Promise<readonly Row[]> {
    const { rivals } = bench;
    await using coupled = rivals.pyisolateCoupled(picturePack);
    await using comfyEnv = rivals.comfyEnv(picturePack);
    await using torch = rivals.torch(picturePack);
    const others = [coupled, comfyEnv, torch];
    for (const rival of others) await rival.ask("start");
    await using trusting = bench.newManager("trusted.yaml");
    return [
      ...(await measureHere(bench, bench.manager, isolated, others)),
      ...(await measureHere(bench, trusting, trusted, others)),
      ...(await measurePython(bench, isolated, others, { trusts_memory: false })),
      ...(await measurePython(bench, trusted, others, { trusts_memory: true })),
    ];
  },
};

async function measureHere(
  { say }: Workbench,
  manager: ExtensionManager,
  variants: readonly Variant[],
  rivals: readonly PythonHost[],
): Promise<readonly Row[]> {
  await using extension = await manager.loadExtension(picturePack);
  const rows: Row[] = [];
  for (const variant of variants) {
    say(`· D5 ${variant.label}, TypeScript host`);
    const pictures = await Pictures.open(extension, variant.node);
    const parts = partsHere(extension, pictureBytes);
    const ours = (count: number) => repeat(count, () => pictures.roundTrip());
    rows.push(await rowFor("typescript", variant, { ours, parts, rivals, copiedIn: () => pictures.bytesCopied }));
  }
  return rows;
}

async function measurePython(
  bench: Workbench,
  variants: readonly Variant[],
  rivals: readonly PythonHost[],
  accepting: object,
): Promise<readonly Row[]> {
  await using containers = await Containers.open(bench.engine, bench.manager);
  await using host = bench.ourPythonHost();
  const running = await containers.dialling(host, { pack: picturePack }, accepting);
  const rows: Row[] = [];
  try {
    for (const variant of variants) {
      bench.say(`· D5 ${variant.label}, Python host`);
      const parts = partsOfPython(host, pictureBytes);
      const ours = host.measure("picture", { node: variant.node, shape: pictureShape });
      const bytes = await host.ask<number>("copied", { node: variant.node, shape: pictureShape });
      rows.push(await rowFor("python", variant, { ours, parts, rivals, copiedIn: () => bytes }));
    }
  } finally {
    await running.stop();
  }
  return rows;
}

interface Sides {
  readonly ours: Contestant["measure"];
  readonly parts: Parts;
  readonly rivals: readonly PythonHost[];
  /** Bytes copied to bring one picture to the pack. */
  copiedIn(): number;
}

async function rowFor(host: Row["host"], { label, copies }: Variant, sides: Sides): Promise<Row> {
  const { ours, parts, rivals } = sides;
  const options = { node: rivalNode, shape: pictureShape };
  const contestants: readonly Contestant[] = [
    { name: "ours", role: "ours", measure: ours },
    ...rivals.map(
      (rival): Contestant => ({ name: rival.name, role: "rival", measure: rival.measure("picture", options) }),
    ),
    parts.limit(
      `${copies} × memcpy + work + 2 × a no-op call`,
      ({ copy, comparison, work, noop }) => copies * copy + work + comparison + 2 * noop,
    ),
  ];
  const measured = await interleave(contestants, plan);
  const { copy, comparison, work, noop } = parts.medians;
  const goalMs = 1.25 * (copies * copy + work + comparison) + 2 * noop;
  const goal: Goal = {
    text: `≤ 1.25 × (${copies} × memcpy + work) + 2 × a no-op call = ${goalMs.toFixed(2)} ms, ≥ 8 × faster than every rival`,
    isMet: (columns: Columns) => columns.ours.p50 <= goalMs && isFasterThanRivals(columns, 8),
  };
  const notes = [
    `bytes copied in: ${sides.copiedIn()}; memcpy ${copy.toFixed(2)} ms, work ${work.toFixed(2)} + comparison ${comparison.toFixed(2)} ms, no-op call ${noop.toFixed(3)} ms`,
  ];
  return rowOf({ id: "D5", host, variant: label, unit: "ms", goal, notes }, measured);
}

/** Sends pictures from ordinary memory and compares what comes back. */
class Pictures {
  readonly #extension: Extension;
  readonly #node: string;
  readonly #makeTensor: (values: Float32Array) => InstanceType<TensorClass>;
  readonly #values = pictureValues();
  readonly #expected = this.#values.map((value) => value * 0.5);
  /** In, by the last round trip. */
  bytesCopied = 0;

  static async open(extension: Extension, node: string): Promise<Pictures> {
    const { Tensor } = await productModule("index.js");
    return new Pictures(extension, node, (values) => new Tensor("float32", pictureShape, values));
  }

  constructor(extension: Extension, node: string, makeTensor: (values: Float32Array) => InstanceType<TensorClass>) {
    this.#extension = extension;
    this.#node = node;
    this.#makeTensor = makeTensor;
  }

  /** Milliseconds. */
  async roundTrip(): Promise<number> {
    const image = this.#makeTensor(this.#values.slice());
    const startedMs = performance.now();
    const { outputs, bytesCopied } = await this.#extension.executeNode(this.#node, { image });
    const result = outputs[0] as InstanceType<TensorClass>;
    const isSame = isEqual(result.data, this.#expected);
    const ms = performance.now() - startedMs;
    result.release();
    this.bytesCopied = bytesCopied;
    if (!isSame) throw new Error("the picture that came back is another one");
    return ms;
  }
}

type TensorClass = typeof import("../../../src/index.ts").Tensor;

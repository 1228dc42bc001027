// D6: a numpy array of 8 MB float64 there and back, until every byte was compared; and 50 MB of bytes one way.

import type { Tensor } from "../../../src/index.ts";
import { Containers } from "../containers.ts";
import { type Contestant, interleave, repeat, timeEach } from "../contestant.ts";
import type { PythonHost } from "../hosts/host.ts";
import { environments } from "../hosts/rivals.ts";
import { isEqual } from "../memory.ts";
import { picturePack } from "../packs.ts";
import { type Parts, partsHere, partsOfPython } from "../parts.ts";
import { productModule } from "../product.ts";
import { type Goal, isWithinLimit, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

const arrayPlan = { rounds: 5, perRound: 10, warmUp: 10 };
const bytesPlan = { rounds: 10, perRound: 2, warmUp: 2 };
const elements = 1 << 20;
const arrayBytes = 8 * elements;
const blobBytes = 50 << 20;
const bytesGoal: Goal = { text: "≤ 1.5 × the limit", isMet: (columns) => isWithinLimit(columns, { times: 1.5 }) };

export const d6: Figure = {
  title: "numpy array there and back; bytes one way",
  packs: [picturePack],
  environments: [environments.coupled, environments.comfyEnv, environments.torch],
  async run(bench: Workbench): Promise<readonly Row[]> {
    const { engine, manager, rivals } = bench;
    await using containers = await Containers.open(engine, manager);
    await using python = bench.ourPythonHost();
    await using coupled = rivals.pyisolateCoupled(picturePack);
    await using comfyEnv = rivals.comfyEnv(picturePack);
    await using torch = rivals.torch(picturePack);
    const others = [coupled, comfyEnv, torch];
    for (const rival of others) await rival.ask("start");
    const running = await containers.dialling(python, { pack: picturePack });
    try {
      return [...(await measureHere(bench, others)), ...(await measurePython(bench, python, others))];
    } finally {
      await running.stop();
    }
  },
};

async function measureHere({ manager, say }: Workbench, rivals: readonly PythonHost[]): Promise<readonly Row[]> {
  await using extension = await manager.loadExtension(picturePack);
  const { Tensor } = await productModule("index.js");
  const values = Float64Array.from({ length: elements }, Math.random);
  const thereAndBack = async () => {
    const value = new Tensor("float64", [elements], values.slice());
    const startedMs = performance.now();
    const { outputs } = await extension.executeNode("Echo", { value });
    const result = outputs[0] as Tensor;
    const isSame = isEqual(result.data, values);
    const ms = performance.now() - startedMs;
    result.release();
    if (!isSame) throw new Error("the array that came back is another one");
    return ms;
  };
  const blob = new Uint8Array(blobBytes).fill(7);
  say("· D6 TypeScript host");
  const ours = (count: number) => repeat(count, thereAndBack);
  const oneWay = (count: number) => timeEach(count, () => extension.executeNode("Length", { value: blob }));
  const copy = (count: number) => timeEach(count, async () => new Uint8Array(blob));
  return [
    await arrayRow("typescript", ours, partsHere(extension, arrayBytes), rivals),
    await bytesRow("typescript", oneWay, { name: "copy into new memory", role: "limit", measure: copy }, rivals),
  ];
}

async function measurePython(
  { say }: Workbench,
  host: PythonHost,
  rivals: readonly PythonHost[],
): Promise<readonly Row[]> {
  say("· D6 Python host");
  const copy = host.measure("copy", { nbytes: blobBytes });
  return [
    await arrayRow("python", host.measure("array"), partsOfPython(host, arrayBytes), rivals),
    await bytesRow(
      "python",
      host.measure("blob", { nbytes: blobBytes }),
      { name: "bytes()", role: "limit", measure: copy },
      rivals,
    ),
  ];
}

async function arrayRow(
  host: Row["host"],
  ours: Contestant["measure"],
  parts: Parts,
  rivals: readonly PythonHost[],
): Promise<Row> {
  const contestants: readonly Contestant[] = [
    { name: "ours", role: "ours", measure: ours },
    // Once a turn: one of them takes seconds.
    ...rivals.map(
      (rival): Contestant => ({ name: rival.name, role: "rival", measure: () => rival.ask("array", { count: 1 }) }),
    ),
    parts.limit("memcpy + a no-op call", ({ copy, noop }) => copy + noop),
  ];
  const measured = await interleave(contestants, arrayPlan);
  const { copy, noop } = parts.medians;
  const goalMs = 3 * copy + noop;
  const goal: Goal = {
    text: `≤ 3 × memcpy + a no-op call = ${goalMs.toFixed(2)} ms, an equal array`,
    isMet: ({ ours }) => ours.p50 <= goalMs,
  };
  const notes: string[] = [];
  for (const rival of rivals) {
    const kind = await rival.ask<string>("arrived").catch(() => undefined);
    if (kind !== undefined && kind !== "ndarray") notes.push(`${rival.name}: it comes back as a ${kind}`);
  }
  return rowOf({ id: "D6", host, variant: "8 MB float64 there and back", unit: "ms", goal, notes }, measured);
}

async function bytesRow(
  host: Row["host"],
  ours: Contestant["measure"],
  limit: Contestant,
  rivals: readonly PythonHost[],
): Promise<Row> {
  const measure = (rival: PythonHost) => rival.measure("blob", { nbytes: blobBytes });
  const contestants: readonly Contestant[] = [
    { name: "ours", role: "ours", measure: ours },
    ...rivals.map((rival): Contestant => ({ name: rival.name, role: "rival", measure: measure(rival) })),
    limit,
  ];
  const measured = await interleave(contestants, bytesPlan);
  return rowOf({ id: "D6", host, variant: "50 MB of bytes one way", unit: "ms", goal: bytesGoal }, measured);
}

// D8: shared memory that is left one second after twenty pictures went there and back and were dropped; and after the
// worker was killed besides. What a pool keeps warm because it is configured so does not count.

import { setTimeout as sleep } from "node:timers/promises";
import type { Extension, Tensor } from "../../../src/index.ts";
import { Containers } from "../containers.ts";
import { type Contestant, interleave, repeat } from "../contestant.ts";
import type { PythonHost } from "../hosts/host.ts";
import { environments, rivalNames } from "../hosts/rivals.ts";
import { isEqual, pictureShape, pictureValues, sharedBytesSince, sharedFiles } from "../memory.ts";
import { picturePack } from "../packs.ts";
import { productModule } from "../product.ts";
import { type Goal, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

/** Everyone begins anew for each sample; the rivals give one. */
const plan = { rounds: 1, perRound: 3, warmUp: 0 };
const pictures = 20;
/** What our pools keep by default. */
const keptBytes = 256 << 20;
const goal: Goal = { text: "0 beyond what the pool keeps", isMet: ({ ours }) => ours.p95 === 0 };
const variants = { "tensors dropped": false, "worker killed": true };

export const d8: Figure = {
  title: "shared memory left after one second",
  packs: [picturePack],
  environments: [environments.coupled, environments.comfyEnv, environments.torch],
  async run(bench: Workbench): Promise<readonly Row[]> {
    const rows: Row[] = [];
    for (const [variant, kills] of Object.entries(variants)) {
      for (const host of ["typescript", "python"] as const) {
        bench.say(`· D8 ${variant}, ${host} host`);
        const left: number[] = [];
        const measure = host === "typescript" ? () => leftHere(bench, kills) : () => leftByPython(bench, kills);
        const ours = async () => {
          const bytes = await measure();
          left.push(bytes);
          return Math.max(0, bytes - keptBytes);
        };
        const contestants = [
          { name: "ours", role: "ours", measure: (count: number) => repeat(count, ours) } as const,
          ...rivalsOf(bench, kills),
        ];
        const measured = await interleave(contestants, plan);
        const notes = [`ours with what the pool keeps: ${left.join(", ")} bytes`];
        rows.push(rowOf({ id: "D8", host, variant, unit: "bytes", goal, notes }, measured));
      }
    }
    return rows;
  },
};

async function leftHere(bench: Workbench, kills: boolean): Promise<number> {
  const before = sharedFiles();
  await using manager = bench.newManager();
  await using extension = await manager.loadExtension(picturePack);
  await usePictures(extension);
  if (kills) await extension.executeNode("Die", {}).catch(() => undefined); // PACK_DIED is what we are here for
  globalThis.gc?.();
  await sleep(1000);
  return sharedBytesSince(before);
}

/** Nothing is released by hand: the tensors are dropped. */
async function usePictures(extension: Extension): Promise<void> {
  const { Tensor } = await productModule("index.js");
  const values = pictureValues();
  const expected = values.map((value) => value * 0.5);
  for (let count = 0; count < pictures; count++) {
    const image = new Tensor("float32", pictureShape, values);
    const { outputs } = await extension.executeNode("HalfInPlace", { image });
    if (!isEqual((outputs[0] as Tensor).data, expected)) throw new Error("the picture that came back is another one");
  }
}

async function leftByPython(bench: Workbench, kills: boolean): Promise<number> {
  await using containers = await Containers.open(bench.engine, bench.manager);
  await using host = bench.ourPythonHost();
  const running = await containers.dialling(host, { pack: picturePack });
  try {
    return await host.ask<number>("left_after", { node: "HalfInPlace", shape: pictureShape, kills });
  } finally {
    await running.stop();
  }
}

function rivalsOf({ rivals }: Workbench, kills: boolean): readonly Contestant[] {
  const contestant = (name: string, open: () => PythonHost): Contestant => ({
    name,
    role: "rival",
    measure: async () => {
      await using host = open();
      await host.ask("start");
      return [await host.ask<number>("left_after", { node: "Half", shape: pictureShape, kills })];
    },
  });
  return [
    contestant(rivalNames.coupled, () => rivals.pyisolateCoupled(picturePack)),
    contestant(rivalNames.comfyEnv, () => rivals.comfyEnv(picturePack)),
    contestant(rivalNames.torch, () => rivals.torch(picturePack)),
  ];
}

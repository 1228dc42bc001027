// C5: from nothing running to the first answered call, everything installed and built beforehand.

import { type Contestant, interleave } from "../contestant.ts";
import { openLimits } from "../limits/program.ts";
import { noopPack } from "../packs.ts";
import { PyisolateRival } from "../rivals/pyisolate.ts";
import { type Goal, isWithinLimit, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

const plan = { rounds: 20, perRound: 1, warmUp: 2 };
const goal: Goal = {
  text: "≤ the limit + 120 ms",
  isMet: (columns) => isWithinLimit(columns, { more: 120 }),
};

export const c5: Figure = {
  title: "start to first answered call",
  async run({ engine, manager, rivalDirectory, say }: Workbench): Promise<readonly Row[]> {
    await using limits = await openLimits(engine, manager);
    await using rival = new PyisolateRival(rivalDirectory, noopPack);
    const startOurs = async () => {
      const startedMs = performance.now();
      await using extension = await manager.loadExtension(noopPack);
      await extension.executeNode("NoOp", {});
      return performance.now() - startedMs;
    };
    const startRival = async () => {
      const ms = await rival.start();
      await rival.stop();
      return ms;
    };
    const startLimit = async () => {
      const program = await limits.start({ pack: noopPack, script: "first_byte.py", waitForFirstByte: true });
      await program.stop();
      return program.firstByteMs;
    };
    const contestants: readonly Contestant[] = [
      { name: "ours", role: "ours", measure: (count) => repeat(count, startOurs) },
      { name: rival.name, role: "rival", measure: (count) => repeat(count, startRival) },
      {
        name: "same container to python3 -S's first byte",
        role: "limit",
        measure: (count) => repeat(count, startLimit),
      },
    ];
    say("· C5");
    const measured = await interleave(contestants, plan);
    return [rowOf({ id: "C5", host: "typescript", variant: "image present", unit: "ms", goal }, measured)];
  },
};

/** Samples that each time themselves: what comes after the last moment measured, such as stopping, is not in them. */
async function repeat(count: number, measure: () => Promise<number>): Promise<readonly number[]> {
  const samples: number[] = [];
  for (let index = 0; index < count; index++) samples.push(await measure());
  return samples;
}

// C5: from nothing running to the first answered call, everything installed and built beforehand.

import { Containers } from "../containers.ts";
import { type Contestant, interleave, repeat } from "../contestant.ts";
import { environments } from "../hosts/rivals.ts";
import { noopPack } from "../packs.ts";
import { type Goal, isWithinLimit, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

const plan = { rounds: 20, perRound: 1, warmUp: 2 };
const goal: Goal = {
  text: "≤ the limit + 120 ms",
  isMet: (columns) => isWithinLimit(columns, { more: 120 }),
};

export const c5: Figure = {
  title: "start to first answered call",
  packs: [noopPack],
  environments: [environments.sealed],
  async run({ engine, manager, rivals, say }: Workbench): Promise<readonly Row[]> {
    await using containers = await Containers.open(engine, manager);
    await using rival = rivals.pyisolateSealed(noopPack);
    const startOurs = async () => {
      const startedMs = performance.now();
      await using extension = await manager.loadExtension(noopPack);
      await extension.executeNode("NoOp", {});
      return performance.now() - startedMs;
    };
    const startRival = async () => {
      const ms = await rival.ask<number>("start");
      await rival.ask("stop");
      return ms;
    };
    const startLimit = async () => {
      const program = await containers.dialled({ pack: noopPack, script: "first_byte.py" }, { waitForFirstByte: true });
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

// D2: a call that does nothing, TypeScript host → pack, one at a time.
// Variants: the node is a plain or an async function; the machine places the two processes, or both are held to one CPU, or each to its own.

import { Containers } from "../containers.ts";
import { type Contestant, interleave, timeEach } from "../contestant.ts";
import { environments } from "../hosts/rivals.ts";
import { EchoClient } from "../limits/echo.ts";
import { noopPack } from "../packs.ts";
import { underPlacements } from "../placement.ts";
import { type Goal, isFasterThanRivals, isWithinLimit, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

/** Short turns and many, so that a placement of the processes that lasts a while meets all alike. */
const plan = { rounds: 160, perRound: 25, warmUp: 2000 };
/** A coroutine needs an event loop, which a blocking program has not: each kind has the least program that can do it. */
const kinds = {
  sync: { node: "NoOp", limit: "Node net ↔ blocking Python, JSON", script: "echo.py" },
  async: { node: "NoOpAsync", limit: "Node net ↔ asyncio Python, a task per message", script: "echo_asyncio.py" },
};
const goal: Goal = {
  text: "≥ 3 × faster than every rival, ≤ 2 × the limit",
  isMet: (columns) => isFasterThanRivals(columns, 3) && isWithinLimit(columns, { times: 2 }),
};

export const d2: Figure = {
  title: "no-op call",
  packs: [noopPack],
  environments: [environments.sealed, environments.comfyEnv],
  async run({ engine, manager, rivals, say }: Workbench): Promise<readonly Row[]> {
    await using containers = await Containers.open(engine, manager);
    await using sealed = rivals.pyisolateSealed(noopPack);
    await using comfyEnv = rivals.comfyEnv(noopPack);
    await using extension = await manager.loadExtension(noopPack);
    const others = [sealed, comfyEnv];
    for (const rival of others) await rival.ask("start");
    const programs = {
      sync: await containers.dialled({ pack: noopPack, script: kinds.sync.script }),
      async: await containers.dialled({ pack: noopPack, script: kinds.async.script }),
    };
    const echoes = {
      sync: new EchoClient(programs.sync.connection),
      async: new EchoClient(programs.async.connection),
    };
    const rows: Row[] = [];
    try {
      await underPlacements(say, async ({ label, pin }) => {
        if (pin !== undefined) {
          await extension.executeNode("Affinity", { cpu: pin.packCpu });
          for (const rival of others) await rival.pin(pin.hostCpu, pin.packCpu);
          for (const echo of Object.values(echoes)) await echo.pin(pin.packCpu);
        }
        let notes: readonly string[] = [];
        for (const kind of ["sync", "async"] as const) {
          const { node, limit } = kinds[kind];
          const variant = `${kind} node, ${label}`;
          say(`· D2 ${variant}`);
          const contestants: readonly Contestant[] = [
            { name: "ours", role: "ours", measure: (count) => timeEach(count, () => extension.executeNode(node, {})) },
            ...others.map(
              (rival): Contestant => ({ name: rival.name, role: "rival", measure: rival.measure("calls", { node }) }),
            ),
            { name: limit, role: "limit", measure: (count) => timeEach(count, () => echoes[kind].roundTrip()) },
          ];
          const measured = await interleave(contestants, plan);
          const row = rowOf({ id: "D2", host: "typescript", variant, unit: "ms", goal, notes }, measured);
          notes = [`the limit of sync nodes: ${row.limit?.p50} ms`];
          rows.push(row);
        }
      });
    } finally {
      for (const { stop } of Object.values(programs)) await stop();
    }
    return rows;
  },
};

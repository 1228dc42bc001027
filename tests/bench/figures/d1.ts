// D1: a call that does nothing, Python host → pack, one at a time. A program on our Python peer is the host.
// Variants: the node is a plain or an async function; the machine places the two processes, or both are held to one CPU, or each to its own.

import { Containers } from "../containers.ts";
import { type Contestant, interleave } from "../contestant.ts";
import type { PythonHost } from "../hosts/host.ts";
import { environments } from "../hosts/rivals.ts";
import { noopPack } from "../packs.ts";
import { underPlacements } from "../placement.ts";
import { type Goal, isFasterThanRivals, isWithinLimit, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

/** Short turns and many, so that a placement of the processes that lasts a while meets all alike. */
const plan = { rounds: 120, perRound: 25, warmUp: 1000 };
const nodes = { sync: "NoOp", async: "NoOpAsync" };

export const d1: Figure = {
  title: "no-op call",
  packs: [noopPack],
  environments: Object.values(environments),
  async run(bench: Workbench): Promise<readonly Row[]> {
    const { engine, manager, rivals, say } = bench;
    await using containers = await Containers.open(engine, manager);
    await using ours = bench.ourPythonHost();
    await using blocking = bench.echoPythonHost("blocking Python ↔ blocking Python, JSON");
    await using asyncio = bench.echoPythonHost("blocking Python ↔ asyncio Python, a task per message");
    await using sealed = rivals.pyisolateSealed(noopPack);
    await using coupled = rivals.pyisolateCoupled(noopPack);
    await using comfyEnv = rivals.comfyEnv(noopPack);
    const others = [sealed, coupled, comfyEnv];
    for (const rival of others) await rival.ask("start");
    const running = [
      await containers.dialling(ours, { pack: noopPack }),
      await containers.dialling(blocking, { pack: noopPack, script: "echo.py" }),
      await containers.dialling(asyncio, { pack: noopPack, script: "echo_asyncio.py" }),
    ];
    const limits = { sync: blocking, async: asyncio };
    const rows: Row[] = [];
    try {
      await underPlacements(say, async ({ label, pin }) => {
        for (const host of pin === undefined ? [] : [ours, blocking, asyncio, ...others]) {
          await host.pin(pin?.hostCpu ?? 0, pin?.packCpu ?? 0);
        }
        let notes: readonly string[] = [];
        for (const kind of ["sync", "async"] as const) {
          const variant = `${kind} node, ${label}`;
          say(`· D1 ${variant}`);
          const measured = await interleave(contestants(ours, others, limits[kind], nodes[kind]), plan);
          const goal = goalOf(pin === undefined ? 4 : 5);
          const row = rowOf({ id: "D1", host: "python", variant, unit: "ms", goal, notes }, measured);
          notes = [`the limit of sync nodes: ${row.limit?.p50} ms`];
          rows.push(row);
        }
      });
    } finally {
      for (const { stop } of running) await stop();
    }
    return rows;
  },
};

function contestants(
  ours: PythonHost,
  rivals: readonly PythonHost[],
  limit: PythonHost,
  node: string,
): readonly Contestant[] {
  const measure = (host: PythonHost) => host.measure("calls", { node });
  return [
    { name: "ours", role: "ours", measure: measure(ours) },
    ...rivals.map((rival): Contestant => ({ name: rival.name, role: "rival", measure: measure(rival) })),
    { name: limit.name, role: "limit", measure: measure(limit) },
  ];
}

function goalOf(times: number): Goal {
  return {
    text: `≥ ${times} × faster than every rival, ≤ 2 × the limit`,
    isMet: (columns) => isFasterThanRivals(columns, times) && isWithinLimit(columns, { times: 2 }),
  };
}

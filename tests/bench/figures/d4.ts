// D4: a CPU tensor that already lies in shared memory is handed to a node that does not read it. Default route only.

import { Containers } from "../containers.ts";
import { type Contestant, interleave, type Measured, timeEach } from "../contestant.ts";
import type { PythonHost } from "../hosts/host.ts";
import { environments } from "../hosts/rivals.ts";
import { noopPack } from "../packs.ts";
import { type Goal, isWithinLimit, type Row, rowOf } from "../row.ts";
import { spreadOf } from "../statistics.ts";
import type { Figure, Workbench } from "../workbench.ts";

const plan = { rounds: 20, perRound: 10, warmUp: 40 };
const sizes = { "4 KB": 4096, "1 MB": 1 << 20, "64 MB": 1 << 26, "1 GB": 1 << 30 };
const noopNode = "NoOp";
const noopName = "ours, no tensor";
const goalText = "all sizes within 1.5 × of each other, ≤ a call without a tensor + 50 µs";

export const d4: Figure = {
  title: "hand over a tensor that lies in shared memory",
  packs: [noopPack],
  environments: [environments.coupled, environments.comfyEnv, environments.torch],
  async run(bench: Workbench): Promise<readonly Row[]> {
    const { engine, manager, rivals } = bench;
    await using containers = await Containers.open(engine, manager);
    await using python = bench.ourPythonHost();
    await using coupled = rivals.pyisolateCoupled(noopPack);
    await using comfyEnv = rivals.comfyEnv(noopPack);
    await using torch = rivals.torch(noopPack);
    const others = [coupled, comfyEnv, torch];
    for (const rival of others) await rival.ask("start");
    const rows = await measureHere(bench, others);
    const running = await containers.dialling(python, { pack: noopPack });
    try {
      return [...rows, ...(await measurePython(bench, python, others))];
    } finally {
      await running.stop();
    }
  },
};

async function measureHere({ manager, say }: Workbench, rivals: readonly PythonHost[]): Promise<readonly Row[]> {
  await using extension = await manager.loadExtension(noopPack);
  const noop = (count: number) => timeEach(count, () => extension.executeNode(noopNode, {}));
  const measured: [string, readonly Measured[]][] = [];
  for (const [label, nbytes] of Object.entries(sizes)) {
    say(`· D4 ${label}, TypeScript host`);
    using tensor = await manager.empty("uint8", [nbytes]);
    const ours = (count: number) => timeEach(count, () => extension.executeNode("Accept", { tensor }));
    measured.push([label, await interleave(contestants(ours, rivals, nbytes, noop), plan)]);
  }
  return rowsOf("typescript", measured);
}

async function measurePython(
  { say }: Workbench,
  ours: PythonHost,
  rivals: readonly PythonHost[],
): Promise<readonly Row[]> {
  const measured: [string, readonly Measured[]][] = [];
  for (const [label, nbytes] of Object.entries(sizes)) {
    say(`· D4 ${label}, Python host`);
    const noop = ours.measure("calls", { node: noopNode });
    const handOver = ours.measure("hand_over", { nbytes });
    measured.push([label, await interleave(contestants(handOver, rivals, nbytes, noop), plan)]);
  }
  return rowsOf("python", measured);
}

function contestants(
  ours: Contestant["measure"],
  rivals: readonly PythonHost[],
  nbytes: number,
  noop: Contestant["measure"],
): readonly Contestant[] {
  return [
    { name: "ours", role: "ours", measure: ours },
    ...rivals.map(
      (rival): Contestant => ({ name: rival.name, role: "rival", measure: rival.measure("hand_over", { nbytes }) }),
    ),
    { name: noopName, role: "limit", measure: noop },
  ];
}

function rowsOf(
  host: "typescript" | "python",
  measured: readonly (readonly [string, readonly Measured[]])[],
): readonly Row[] {
  const medians = measured.flatMap(([, each]) =>
    each.filter(({ contestant }) => contestant.role === "ours").map(({ samples }) => spreadOf(samples).p50),
  );
  const isFlat = Math.max(...medians) <= 1.5 * Math.min(...medians);
  const goal: Goal = { text: goalText, isMet: (columns) => isFlat && isWithinLimit(columns, { more: 0.05 }) };
  return measured.map(([variant, each]) => rowOf({ id: "D4", host, variant, unit: "ms", goal }, each));
}

// D2: a call that does nothing, TypeScript host → pack, one at a time.
// Variants: the node is a plain or an async function; the machine places the two processes, or both are held to one CPU, or each to its own.

import type { Extension } from "../../../src/index.ts";
import { allowCpus, allowedCpus } from "../affinity.ts";
import { type Contestant, interleave, timeEach } from "../contestant.ts";
import { EchoClient } from "../limits/echo.ts";
import { openLimits } from "../limits/program.ts";
import { noopPack } from "../packs.ts";
import { PyisolateRival } from "../rivals/pyisolate.ts";
import { type Goal, isFasterThanRivals, isWithinLimit, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

/** Short turns and many, so that a placement of the processes that lasts a while meets all alike. */
const plan = { rounds: 160, perRound: 25, warmUp: 2000 };
const nodes = { sync: "NoOp", async: "NoOpAsync" };
const goal: Goal = {
  text: "≥ 3 × faster than pyisolate, ≤ 2 × the limit",
  isMet: (columns) => isFasterThanRivals(columns, 3) && isWithinLimit(columns, { times: 2 }),
};

export const d2: Figure = {
  title: "no-op call",
  async run({ engine, manager, rivalDirectory, say }: Workbench): Promise<readonly Row[]> {
    await using limits = await openLimits(engine, manager);
    await using rival = new PyisolateRival(rivalDirectory, noopPack);
    await using extension = await manager.loadExtension(noopPack);
    await rival.start();
    const program = await limits.start({ pack: noopPack, script: "echo.py", waitForFirstByte: false });
    const sides: Sides = { extension, rival, echo: new EchoClient(program.connection) };
    const cpus = allowedCpus();
    if (cpus.length === 0) say("· no taskset on this machine: the variants on chosen CPUs are left out");
    const rows: Row[] = [];
    try {
      for (const placement of placementsOn(cpus)) {
        await place(sides, placement);
        for (const [kind, node] of Object.entries(nodes)) {
          const variant = `${kind} node, ${placement.label}`;
          say(`· D2 ${variant}`);
          const measured = await interleave(contestants(sides, node), plan);
          rows.push(rowOf({ id: "D2", host: "typescript", variant, unit: "ms", goal }, measured));
        }
      }
    } finally {
      if (cpus.length > 0) allowCpus(cpus);
      await program.stop();
    }
    await rival.stop();
    return rows;
  },
};

interface Sides {
  readonly extension: Extension;
  readonly rival: PyisolateRival;
  readonly echo: EchoClient;
}

function contestants({ extension, rival, echo }: Sides, node: string): readonly Contestant[] {
  return [
    { name: "ours", role: "ours", measure: (count) => timeEach(count, () => extension.executeNode(node, {})) },
    { name: rival.name, role: "rival", measure: (count) => rival.calls(node, count) },
    {
      name: "Node net ↔ blocking Python, JSON",
      role: "limit",
      measure: (count) => timeEach(count, () => echo.roundTrip()),
    },
  ];
}

/** Where host and pack run; all three contestants alike. */
interface Placement {
  readonly label: string;
  /** undefined: wherever the scheduler puts them. It tends to leave them where they happen to be. */
  readonly pin?: { readonly hostCpu: number; readonly packCpu: number };
}

function placementsOn(cpus: readonly number[]): readonly Placement[] {
  const [first, second] = cpus;
  return [
    { label: "any CPU" },
    ...(first === undefined ? [] : [{ label: "one CPU", pin: { hostCpu: first, packCpu: first } }]),
    ...(second === undefined || first === undefined
      ? []
      : [{ label: "two CPUs", pin: { hostCpu: first, packCpu: second } }]),
  ];
}

async function place({ extension, rival, echo }: Sides, { pin }: Placement): Promise<void> {
  if (pin === undefined) return;
  allowCpus([pin.hostCpu]);
  await extension.executeNode("Affinity", { cpu: pin.packCpu });
  await rival.pin(pin.hostCpu, pin.packCpu);
  await echo.pin(pin.packCpu);
}

// D3: calls a second, TypeScript host → pack, many in flight; and the same while a call of two seconds runs in the same pack.

import type { Extension } from "../../../src/index.ts";
import { Containers } from "../containers.ts";
import { type Contestant, interleave, rateOf, repeat } from "../contestant.ts";
import type { PythonHost } from "../hosts/host.ts";
import { environments } from "../hosts/rivals.ts";
import { EchoClient } from "../limits/echo.ts";
import { noopPack } from "../packs.ts";
import { type Columns, type Goal, isMoreThanRivals, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

const node = "NoOpAsync";
/** comfy-env does not run coroutines. */
const plainNode = "NoOp";
const slowNode = "Sleep";
/** Calls of one sample; comfy-env, which takes one at a time, needs fewer to show its rate. */
const calls = 4000;
const callsOneAtATime = 400;
const goalPerSecond = 25_000;
/** No call waits for the slow one: what a busy machine may add is far below its two seconds. */
const longestMs = 200;

export const d3: Figure = {
  title: "calls a second",
  packs: [noopPack],
  environments: [environments.sealed, environments.coupled, environments.comfyEnv],
  async run({ engine, manager, rivals, say }: Workbench): Promise<readonly Row[]> {
    await using containers = await Containers.open(engine, manager);
    await using sealed = rivals.pyisolateSealed(noopPack);
    await using coupled = rivals.pyisolateCoupled(noopPack);
    await using comfyEnv = rivals.comfyEnv(noopPack);
    await using extension = await manager.loadExtension(noopPack);
    for (const rival of [sealed, coupled, comfyEnv]) await rival.ask("start");
    const program = await containers.dialled({ pack: noopPack, script: "echo_asyncio.py" });
    const echo = new EchoClient(program.connection);
    const sides: Sides = { extension, sealed, coupled, comfyEnv, echo };
    const rows: Row[] = [];
    try {
      for (const inFlight of [16, 64]) {
        say(`· D3 ${inFlight} in flight`);
        rows.push(await measure(sides, inFlight));
      }
      say("· D3 64 in flight beside a call of 2 s");
      rows.push(await measureBesideSlow(sides, 64));
    } finally {
      await program.stop();
    }
    return rows;
  },
};

interface Sides {
  readonly extension: Extension;
  readonly sealed: PythonHost;
  readonly coupled: PythonHost;
  readonly comfyEnv: PythonHost;
  readonly echo: EchoClient;
}

async function measure(sides: Sides, inFlight: number): Promise<Row> {
  const { extension, echo } = sides;
  const run = () => extension.executeNode(node, {});
  const contestants: readonly Contestant[] = [
    { name: "ours", role: "ours", measure: (count) => repeat(count, () => rateOf(run, inFlight, calls)) },
    ...rivalsOf(sides, inFlight, {}),
    {
      name: "Node net ↔ asyncio Python, a task per message",
      role: "limit",
      measure: (count) => repeat(count, () => rateOf(() => echo.roundTrip(), inFlight, calls)),
    },
  ];
  const measured = await interleave(contestants, { rounds: 20, perRound: 1, warmUp: 2 });
  const goal: Goal = {
    text: `≥ ${goalPerSecond} calls a second, more than every rival`,
    isMet: isFastEnough,
  };
  return rowOf({ id: "D3", host: "typescript", variant: `${inFlight} in flight`, unit: "calls/s", goal }, measured);
}

async function measureBesideSlow(sides: Sides, inFlight: number): Promise<Row> {
  const { extension } = sides;
  let slowestMs = 0;
  const run = async () => {
    const startedMs = performance.now();
    await extension.executeNode(node, {});
    slowestMs = Math.max(slowestMs, performance.now() - startedMs);
  };
  const ours = async () => {
    const slow = extension.executeNode(slowNode, {});
    const rate = await rateOf(run, inFlight, calls);
    await slow;
    return rate;
  };
  const contestants: readonly Contestant[] = [
    { name: "ours", role: "ours", measure: (count) => repeat(count, ours) },
    ...rivalsOf(sides, inFlight, { beside: slowNode }),
  ];
  const measured = await interleave(contestants, { rounds: 4, perRound: 1, warmUp: 1 });
  const longest = slowestMs;
  const goal: Goal = {
    text: `≥ ${goalPerSecond} calls a second, none of them longer than ${longestMs} ms`,
    isMet: (columns) => isFastEnough(columns) && longest <= longestMs,
  };
  const variant = `${inFlight} in flight, beside a call of 2 s`;
  const notes = [`the longest of our calls took ${longest.toFixed(1)} ms`];
  return rowOf({ id: "D3", host: "typescript", variant, unit: "calls/s", goal, notes }, measured);
}

function rivalsOf(
  { sealed, coupled, comfyEnv }: Sides,
  inFlight: number,
  beside: { readonly beside?: string },
): readonly Contestant[] {
  const rate = (host: PythonHost, options: object) => (samples: number) =>
    repeat(samples, () => host.ask<number>("rate", { ...options, ...beside }));
  const many = { node, in_flight: inFlight, count: calls };
  const oneByOne = { node: plainNode, in_flight: 1, count: callsOneAtATime };
  return [
    { name: sealed.name, role: "rival", measure: rate(sealed, many) },
    { name: coupled.name, role: "rival", measure: rate(coupled, many) },
    { name: `${comfyEnv.name}, one at a time`, role: "rival", measure: rate(comfyEnv, oneByOne) },
  ];
}

function isFastEnough(columns: Columns): boolean {
  return columns.ours.p50 >= goalPerSecond && isMoreThanRivals(columns, 1);
}

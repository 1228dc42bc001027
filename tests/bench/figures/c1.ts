// C1: nothing changed, so nothing is built. The rival does what a second `docker build` of the same files does.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pack as newTar } from "tar-stream";
import type { Engine } from "../../../src/engine/engine.ts";
import type { BuildProgress } from "../../../src/index.ts";
import { type Contestant, interleave, timeEach } from "../contestant.ts";
import { cartoonPack, noopPack } from "../packs.ts";
import { type Goal, type Row, rowOf } from "../row.ts";
import type { Figure, Workbench } from "../workbench.ts";

const plan = { rounds: 30, perRound: 1, warmUp: 2 };
const packs = { "no dependencies": noopPack, "numpy and OpenCV": cartoonPack };
const goalMs = 30;
const builtImage = "pyisolate-bench/cached:latest";

export const c1: Figure = {
  title: "ensureImage, nothing changed",
  packs: Object.values(packs),
  environments: [],
  async run({ engine, manager, say }: Workbench): Promise<readonly Row[]> {
    const rows: Row[] = [];
    try {
      for (const [variant, pack] of Object.entries(packs)) {
        say(`· C1 ${variant}`);
        rows.push(await measurePack({ engine, manager }, variant, pack));
      }
    } finally {
      await engine.images.remove(builtImage);
    }
    return rows;
  },
};

async function measurePack({ engine, manager }: Pick<Workbench, "engine" | "manager">, variant: string, pack: string) {
  const { image } = await manager.ensureImage(pack);
  let builds = 0;
  const onProgress = ({ type }: BuildProgress) => {
    if (type === "started") builds += 1;
  };
  const contestants: readonly Contestant[] = [
    {
      name: "ours",
      role: "ours",
      measure: (count) => timeEach(count, () => manager.ensureImage(pack, { onProgress })),
    },
    {
      name: "BuildKit cached build",
      role: "rival",
      measure: (count) => timeEach(count, () => buildAgain(engine, image.reference, pack)),
    },
    {
      name: "one inspect",
      role: "limit",
      measure: (count) => timeEach(count, () => engine.images.inspect(image.reference)),
    },
  ];
  const measured = await interleave(contestants, plan);
  const goal: Goal = {
    text: `≤ ${goalMs} ms and no build started (${builds} were)`,
    isMet: ({ ours }) => ours.p50 <= goalMs && builds === 0,
  };
  return rowOf({ id: "C1", host: "typescript", variant, unit: "ms", goal }, measured);
}

/** Only the last two links of our chain, on top of all that lies below them: the least such a build can ask for. */
async function buildAgain(engine: Engine, below: string, pack: string): Promise<void> {
  await engine.images.build(buildContext(below, pack), {
    reference: builtImage,
    dockerfile: "Dockerfile",
    labels: { "pyisolate.kind": "bench" },
    network: "none",
  });
}

function buildContext(below: string, pack: string): Readable {
  const tar = newTar();
  const dockerfile = `FROM ${below}\nCOPY pack /bench\nRUN ["/opt/env/bin/python", "-m", "compileall", "-q", "/bench"]\n`;
  tar.entry({ name: "Dockerfile" }, dockerfile);
  for (const { name } of readdirSync(pack, { withFileTypes: true }).filter((entry) => entry.isFile())) {
    tar.entry({ name: `pack/${name}`, mtime: new Date(0) }, readFileSync(join(pack, name)));
  }
  tar.finalize();
  return Readable.from(tar);
}

// `npm run bench [ID…]`: ours, the rivals and the limits, interleaved in one run. Rows are printed and go to out/bench.json.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { runOpenly } from "./lib/command.mjs";
import { ensureRivals } from "./lib/rivals.mjs";
import { main, say } from "./lib/say.mjs";
import { setUpMachine, withManager } from "./lib/setup.mjs";

const root = join(import.meta.dirname, "..");
const bench = join(root, "tests/bench");
const directory = join(root, "out/bench");

await main(async () => {
  const known = readdirSync(join(bench, "figures"))
    .map((file) => file.replace(/\.ts$/, "").toUpperCase())
    .sort();
  const wanted = process.argv.slice(2).map((id) => id.toUpperCase());
  const unknown = wanted.filter((id) => !known.includes(id));
  if (unknown.length > 0) {
    say(`No figure ${unknown.join(", ")}. Known: ${known.join(", ")}. All of them: npm run bench`);
    return 2;
  }
  const ids = wanted.length === 0 ? known : wanted;
  const pyisolate = await setUpMachine({ pythons: ["3.11"] });
  const figures = await readFigures(ids);
  await withManager(pyisolate, async (manager) => {
    for (const pack of new Set(figures.flatMap(({ packs }) => packs))) {
      await manager.ensureImage(pack, { onProgress: pyisolate.printProgress });
    }
  });
  await ensureRivals(directory, new Set(figures.flatMap(({ environments }) => environments)));
  const program = ["--import", "tsx", "--expose-gc", join(bench, "main.ts"), directory];
  return runOpenly(process.execPath, [...program, ...ids], { cwd: root });
});

/** What each figure needs. They are TypeScript: tsx is there only once the machine is set up. */
async function readFigures(ids) {
  const { tsImport } = await import("tsx/esm/api");
  const { figures } = await tsImport("../tests/bench/figures.ts", import.meta.url);
  return ids.map((id) => figures[id]);
}

// The bench program: node --import tsx tests/bench/main.ts DIRECTORY ID…; DIRECTORY holds the rivals' environments.
// Started by scripts/bench.mjs, which has set up what it needs and checked the ids. Prints rows, writes out/bench.json.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { figures } from "./figures.ts";
import { PythonHost } from "./hosts/host.ts";
import { environments, Rivals } from "./hosts/rivals.ts";
import { productModule } from "./product.ts";
import { formatRow } from "./report.ts";
import type { Row } from "./row.ts";
import type { Workbench } from "./workbench.ts";

const out = join(import.meta.dirname, "../../out");
const runtime = join(import.meta.dirname, "../../runtime-python/src");
const [directory = "", ...ids] = process.argv.slice(2);
const say = (line: string) => process.stderr.write(`${line}\n`);

const { ExtensionManager } = await productModule("index.js");
const { connectEngine } = await productModule("engine/docker.js");
const engine = await connectEngine({ dockerHost: process.env.DOCKER_HOST });
const rows: Row[] = [];
{
  await using manager = new ExtensionManager();
  const bench: Workbench = {
    engine,
    manager,
    rivals: new Rivals(directory),
    newManager: (policy) =>
      new ExtensionManager(policy === undefined ? {} : { policy: join(import.meta.dirname, "policies", policy) }),
    ourPythonHost: () => pythonHost("ours", "our_host.py"),
    echoPythonHost: (name) => pythonHost(name, "echo_host.py"),
    say,
  };
  for (const [id, figure] of Object.entries(figures).filter(([id]) => ids.includes(id))) {
    const added = await figure.run(bench);
    for (const row of added) console.log(`\n${formatRow(row, figure.title)}`);
    rows.push(...added);
    say(`✓ ${id}`);
  }
}
mkdirSync(out, { recursive: true });
writeFileSync(join(out, "bench.json"), `${JSON.stringify(rows, null, 2)}\n`);
const met = rows.filter((row) => row.met).length;
console.log(`\n${met} of ${rows.length} goals met. Figures: out/bench.json; what they mean: docs/performance.md`);

/** By the interpreter that has numpy and torch. */
function pythonHost(name: string, script: string): PythonHost {
  const environment = join(directory, environments.torch);
  return new PythonHost({
    name,
    python: join(environment, "venv/bin/python"),
    script,
    args: [],
    log: join(environment, `${script}.log`),
    env: { PYTHONPATH: runtime },
  });
}

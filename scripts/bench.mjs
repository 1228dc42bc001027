// `npm run bench [ID…]`: ours, the rivals and the limits, interleaved in one run. Rows are printed and go to out/bench.json.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runOpenly, runQuietly } from "./lib/command.mjs";
import { installPackages, isDebianFamily, requireRoot } from "./lib/engine.mjs";
import { main, SetupError, say } from "./lib/say.mjs";
import { setUpMachine, withManager } from "./lib/setup.mjs";

const root = join(import.meta.dirname, "..");
const bench = join(root, "tests/bench");
const rivalDirectory = join(root, "out/bench/pyisolate-0.10.2");
const rivalPackages = ["pyisolate==0.10.2"];
const packs = [join(bench, "packs/noop"), join(root, "examples/cartoon")];

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
  const pyisolate = await setUpMachine({ pythons: ["3.11"] });
  await withManager(pyisolate, async (manager) => {
    for (const pack of packs) await manager.ensureImage(pack, { onProgress: pyisolate.printProgress });
  });
  await ensureRival();
  const program = ["--import", "tsx", join(bench, "main.ts"), rivalDirectory];
  return runOpenly(process.execPath, [...program, ...(wanted.length === 0 ? known : wanted)], { cwd: root });
});

/** The rival in a virtual environment of its own, made once by this machine's Python. */
async function ensureRival() {
  const environment = join(rivalDirectory, "venv");
  const stamp = join(environment, ".complete");
  if (existsSync(stamp)) return;
  const python = await ensurePython();
  rmSync(rivalDirectory, { recursive: true, force: true });
  mkdirSync(rivalDirectory, { recursive: true });
  await runQuietly("virtual environment of the rival", python, ["-m", "venv", environment]);
  const pip = ["-m", "pip", "install", "--disable-pip-version-check", ...rivalPackages];
  await runQuietly(`pip install ${rivalPackages.join(" ")}`, join(environment, "bin/python"), pip);
  writeFileSync(stamp, "");
}

/** A Python ≥ 3.10 that can make virtual environments: the rival needs one on the machine itself. As root, installs it. */
async function ensurePython() {
  if (isUsable("python3")) return "python3";
  const packages = ["python3", "python3-venv"];
  const install = `apt-get install --no-install-recommends ${packages.join(" ")}`;
  if (!isDebianFamily()) {
    throw new SetupError(
      "The rival needs a python3 of 3.10 or later with venv, and this machine has none.",
      `Install one with your system's own tools. On Debian that would be:\n  ${install}`,
    );
  }
  requireRoot("The rival needs a python3 of 3.10 or later with venv, and this machine has none.", [install]);
  say(`The rival needs Python on this machine. Installing it as root:\n  ${install}`);
  await installPackages(packages);
  if (isUsable("/usr/bin/python3")) return "/usr/bin/python3";
  throw new SetupError(
    "This system's python3 is older than 3.10, which the rival requires.",
    "Run the bench on Debian 12 or later.",
  );
}

function isUsable(python) {
  const check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
  return spawnSync(python, ["-c", check], { stdio: "ignore" }).status === 0;
}

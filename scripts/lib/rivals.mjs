// Rivals of the bench: each in virtual environments of its own under out/bench, made once by this machine's Python.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runQuietly } from "./command.mjs";
import { installPackages, isDebianFamily, requireRoot } from "./engine.mjs";
import { SetupError, say } from "./say.mjs";

const tensors = ["torch==2.13.0", "numpy==2.2.6"];

/** Folder under out/bench → what is installed in its `venv`, and in the `worker` that its own uv makes, if it has one. */
export const rivals = {
  "pyisolate-0.10.2": { packages: ["pyisolate==0.10.2"] },
  // With torch its extensions share the host's packages and tensors; without, they talk JSON.
  "pyisolate-0.10.2-torch": { packages: ["pyisolate==0.10.2", ...tensors] },
  "comfy-env-0.4.46": { packages: ["comfy-env==0.4.46", ...tensors], worker: tensors },
  "torch-2.13.0": { packages: tensors },
};

/** Makes the environments of these rivals unless they are there. */
export async function ensureRivals(benchDirectory, names) {
  for (const name of names) await ensureRival(join(benchDirectory, name), rivals[name]);
}

async function ensureRival(directory, { packages, worker }) {
  const stamp = join(directory, "venv/.complete");
  if (existsSync(stamp)) return;
  const python = await ensurePython();
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const programs = join(directory, "venv/bin");
  await runQuietly("virtual environment of the rival", python, ["-m", "venv", join(directory, "venv")]);
  const pip = ["-m", "pip", "install", "--disable-pip-version-check"];
  await runQuietly(`pip install ${packages.join(" ")}`, join(programs, "python"), [...pip, ...packages]);
  if (worker !== undefined) await makeWorker(directory, programs, worker, pip);
  writeFileSync(stamp, "");
}

/** A second environment, made by the uv that came with the rival and filled by its pip, which knows this machine's settings. */
async function makeWorker(directory, programs, packages, pip) {
  const environment = join(directory, "worker");
  const made = ["venv", "--seed", "--python", join(programs, "python"), environment];
  await runQuietly("uv venv of the rival's worker", join(programs, "uv"), made);
  await runQuietly(`pip install ${packages.join(" ")}`, join(environment, "bin/python"), [...pip, ...packages]);
}

/** A Python ≥ 3.10 that can make virtual environments: a rival needs one on the machine itself. As root, installs it. */
async function ensurePython() {
  if (isUsable("python3")) return "python3";
  const packages = ["python3", "python3-venv"];
  const install = `apt-get install --no-install-recommends ${packages.join(" ")}`;
  if (!isDebianFamily()) {
    throw new SetupError(
      "The rivals need a python3 of 3.10 or later with venv, and this machine has none.",
      `Install one with your system's own tools. On Debian that would be:\n  ${install}`,
    );
  }
  requireRoot("The rivals need a python3 of 3.10 or later with venv, and this machine has none.", [install]);
  say(`The rivals need Python on this machine. Installing it as root:\n  ${install}`);
  await installPackages(packages);
  if (isUsable("/usr/bin/python3")) return "/usr/bin/python3";
  throw new SetupError(
    "This system's python3 is older than 3.10, which the rivals require.",
    "Run the bench on Debian 12 or later.",
  );
}

function isUsable(python) {
  const check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
  return spawnSync(python, ["-c", check], { stdio: "ignore" }).status === 0;
}

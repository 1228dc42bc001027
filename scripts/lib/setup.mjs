// What every npm script needs before its own work: Node, npm dependencies, dist/, a Docker Engine, base images.
// Everything that is there already is left alone and costs next to nothing.

import { ensureCompiled, ensureDependencies, requireNode } from "./dependencies.mjs";
import { ensureEngine, installPackages, isDebianFamily } from "./engine.mjs";
import { say } from "./say.mjs";

/** npm dependencies and dist/. */
async function setUpProgram() {
  requireNode();
  await ensureDependencies();
  await ensureCompiled();
}

/** The program, an engine, and the base images of these Python versions. Gives the library, and the command line's `printProgress`. */
export async function setUpMachine({ pythons }) {
  await setUpProgram();
  await ensureEngine();
  const { progressPrinter } = await import("../../dist/entry/progress.js");
  const printProgress = progressPrinter(
    (line) => process.stderr.write(line),
    () => performance.now(),
  );
  const pyisolate = { ...(await import("../../dist/index.js")), printProgress };
  for (const python of pythons) await ensureBase(pyisolate, python);
  return pyisolate;
}

/** As setUpMachine, for Pythons that not every machine can provide: gives those that are there, and says which are not. */
export async function setUpOptionalBases(pyisolate, pythons) {
  const available = [];
  for (const python of pythons) {
    try {
      await ensureBase(pyisolate, python);
      available.push(python);
    } catch (error) {
      if (error.code !== "BASE_UNAVAILABLE") throw error;
      say(`· no base for Python ${python}: ${error.message}`);
    }
  }
  return available;
}

async function ensureBase(pyisolate, python) {
  try {
    await ensureBaseImage(pyisolate, python);
  } catch (error) {
    if (error.code !== "BASE_UNAVAILABLE" || error.details.missing !== "mmdebstrap") throw error;
    if (process.getuid() !== 0 || !isDebianFamily()) throw error;
    await installPackages(["mmdebstrap"]);
    await ensureBaseImage(pyisolate, python);
  }
}

async function ensureBaseImage(pyisolate, python) {
  await withManager(pyisolate, (manager) => manager.ensureBase(python, { onProgress: pyisolate.printProgress }));
}

/** Runs `use` with a manager and stops it, whatever happens. (Node 20 has no `await using`.) */
export async function withManager(pyisolate, use, options = {}) {
  const manager = new pyisolate.ExtensionManager(options);
  try {
    return await use(manager);
  } finally {
    await manager.stop();
  }
}

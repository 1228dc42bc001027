// Python tools (pytest, ruff, mypy) in a container of our own making: the machine needs no Python.
// Their environment is an ordinary pack image, made from tests/python-tools/manifest.yaml.

import { join } from "node:path";
import { withManager } from "./setup.mjs";
import { repository, runTool } from "./tool.mjs";

const root = join(import.meta.dirname, "../..");

/** Runs one command on the repository, which is mounted read-only as the working directory. Gives its status and output. */
export async function runPythonTools(pyisolate, python, command) {
  const image = await ensurePythonImage(pyisolate, "python-tools", python);
  const [program, ...args] = command;
  const env = {
    PYTHONPATH: `${repository}/runtime-python/src`,
    PYTEST_ADDOPTS: "-p no:cacheprovider",
    HYPOTHESIS_STORAGE_DIRECTORY: "/tmp/hypothesis",
    MYPY_CACHE_DIR: "/tmp/mypy",
    RUFF_CACHE_DIR: "/tmp/ruff",
  };
  return runTool({ image, command: [program === "python" ? "/opt/env/bin/python" : program, ...args], env });
}

/** Reference of the image of `tests/NAME/manifest.yaml` for a version of Python. Made unless it is there. */
export async function ensurePythonImage(pyisolate, name, python) {
  const config = { name, module_path: join(root, "tests", name), python };
  const { image } = await withManager(pyisolate, (manager) =>
    manager.ensureImage(config, { onProgress: pyisolate.printProgress }),
  );
  return image.reference;
}

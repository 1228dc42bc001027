// Rootfs: a Debian root file system with Python, made on this machine by mmdebstrap (images/debian.sh) and imported.
// Pythons that Debian does not have come from an interpreter of this machine (images/machine-python.py).

import { randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { access, constants, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { execa } from "execa";
import type { Labels } from "../engine/engine.ts";
import { PyisolateError } from "../errors.ts";
import type { PythonVersion } from "../manifest/manifest.ts";
import { temporaryLabels } from "./labels.ts";
import { type ImageContext, note } from "./work.ts";

/** extract: packages are only unpacked; apt: installed, with apt for more. */
export type RootfsVariant = "extract" | "apt";

export interface Rootfs {
  /** The caller removes it when done. */
  readonly reference: string;
  /** What it was made from, in words. */
  readonly origin: string;
  /** Its labels: what is built on it inherits those it does not set. */
  readonly labels: Labels;
}

const debianPythons: ReadonlySet<PythonVersion> = new Set(["3.9", "3.11", "3.13"]);

/** Raises BASE_UNAVAILABLE: no root, no mmdebstrap (then `details.missing` names it), no interpreter, or mmdebstrap failed. */
export async function makeRootfs(
  python: PythonVersion,
  variant: RootfsVariant,
  context: ImageContext,
): Promise<Rootfs> {
  await requireMeans(python, context);
  const scripts = join(context.settings.packageDirectory, "images");
  const interpreter = debianPythons.has(python) ? undefined : await findInterpreter(python, context);
  const folder = await mkdtemp(join(tmpdir(), "pyisolate-rootfs-"));
  try {
    const overlay = join(folder, "python.tar");
    if (interpreter !== undefined) {
      note(context, "base", `Python ${python} is copied from ${interpreter.program} of this machine`);
      await runToFile([interpreter.program, join(scripts, "machine-python.py"), folder], overlay, python, context);
    }
    const tar = join(folder, "rootfs.tar");
    const overlays = interpreter === undefined ? [] : [overlay];
    await runToFile(["sh", join(scripts, "debian.sh"), python, variant, ...overlays], tar, python, context);
    const reference = `pyisolate/rootfs:${randomUUID()}`;
    const origin = interpreter?.version ?? "debian";
    const labels = temporaryLabels("rootfs", origin, Date.now(), await context.ownerLabels());
    await context.engine.images.import(createReadStream(tar), reference, labels);
    return { reference, origin, labels };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function requireMeans(python: PythonVersion, context: ImageContext): Promise<void> {
  const { host } = context;
  const hasTool = await findProgram("mmdebstrap", host.path);
  const install = "apt-get install mmdebstrap debian-archive-keyring";
  const once = "pyisolate build DIR    # once, for any pack with this Python";
  if (hasTool === undefined) {
    throw new PyisolateError(
      "BASE_UNAVAILABLE",
      `the base for Python ${python} can be neither pulled nor made: mmdebstrap is not installed`,
      {
        missing: "mmdebstrap",
        next: `Run as root, on Debian or Ubuntu:\n  ${install}${host.isRoot ? "" : `\n  ${once}`}`,
      },
    );
  }
  if (!host.isRoot) {
    throw new PyisolateError(
      "BASE_UNAVAILABLE",
      `the base for Python ${python} cannot be pulled, and making it here needs root once`,
      {
        missing: "root",
        next: `Run as root:\n  ${once}`,
      },
    );
  }
}

/** Runs a command with its output in a file; its messages are log lines of the base. */
async function runToFile(
  command: readonly string[],
  file: string,
  python: PythonVersion,
  context: ImageContext,
): Promise<void> {
  const [program = "", ...args] = command;
  const lines: string[] = [];
  try {
    const child = execa(program, args, {
      stdin: "ignore",
      buffer: false,
      ...(context.signal === undefined ? {} : { cancelSignal: context.signal }),
    });
    const collect = async () => {
      for await (const line of child.iterable({ from: "stderr" })) {
        lines.push(line);
        context.onProgress?.({ type: "log", link: "base", line });
      }
    };
    await Promise.all([pipeline(child.stdout, createWriteStream(file)), collect(), child]);
  } catch (error) {
    context.signal?.throwIfAborted();
    throw new PyisolateError(
      "BASE_UNAVAILABLE",
      `the base for Python ${python} cannot be made: ${command.join(" ")} failed`,
      { logTail: lines.slice(-20), next: "The log lines say why; a download that failed may work the next time." },
      error,
    );
  }
}

interface Interpreter {
  readonly program: string;
  /** e.g. "3.12.1" */
  readonly version: string;
}

async function findInterpreter(python: PythonVersion, context: ImageContext): Promise<Interpreter> {
  for (const program of await candidates(python, context)) {
    const probe = await execa(program, ["-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"], {
      reject: false,
    });
    const version = probe.stdout?.trim() ?? "";
    if (probe.exitCode === 0 && version.startsWith(`${python}.`)) return { program, version };
  }
  throw new PyisolateError(
    "BASE_UNAVAILABLE",
    `the base for Python ${python} can be neither pulled nor made: Debian has no Python ${python}, and this machine has no python${python}`,
    {
      missing: "interpreter",
      next: `Install Python ${python} on this machine (as python${python}, or with pyenv), or set \`python\` in the manifest to 3.9, 3.11 or 3.13.`,
    },
  );
}

/** python3.X of the PATH (which may be a pyenv shim that works or not), then pyenv's own, newest first. */
async function candidates(python: PythonVersion, context: ImageContext): Promise<string[]> {
  const { home, path } = context.host;
  const onPath = await findProgram(`python${python}`, path);
  const pyenv = join(home, ".pyenv/versions");
  const versions = (await readdir(pyenv).catch(() => [])).filter((name) => name.startsWith(`${python}.`));
  const newestFirst = versions.sort((a, b) => b.localeCompare(a, "en", { numeric: true }));
  return [
    ...(onPath === undefined ? [] : [onPath]),
    ...newestFirst.map((name) => join(pyenv, name, `bin/python${python}`)),
  ];
}

async function findProgram(name: string, path: readonly string[]): Promise<string | undefined> {
  for (const folder of path) {
    const program = join(folder, name);
    const isExecutable = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isExecutable) return program;
  }
  return undefined;
}

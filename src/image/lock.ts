// Lock: finds the lock of a manifest, or has uv resolve it in a build step and reads the result out.
// Order: manifest.lock beside the manifest, the store, uv. Whatever it comes from, it is parsed before uv sees it.

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Labels } from "../engine/engine.ts";
import { isPyisolateError, PyisolateError } from "../errors.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { readLock, writeLock } from "../store/locks.ts";
import { below, type ContextEntry, textEntries } from "./context.ts";
import { lockDockerfile } from "./dockerfile.ts";
import { hostFiles } from "./host.ts";
import { temporaryLabels } from "./labels.ts";
import { type Lock, type LockRequest, parseLock, requestDigest, writeLockText } from "./lock-text.ts";
import type { Foundation } from "./plan.ts";
import type { LocalWheel } from "./requirements.ts";
import { shareWork } from "./share.ts";
import { type BuildTools, ensureTools } from "./tools.ts";
import { explainUnresolved } from "./unresolved.ts";
import { type ImageContext, note, reported, runBuild } from "./work.ts";

export interface LockSource {
  readonly manifest: Manifest;
  readonly packDirectory: string;
}

/** Raises DEPENDENCY_UNRESOLVED with uv's reason, and what builds raise. Leaves no image and no container. */
export async function ensureLock(
  context: ImageContext,
  source: LockSource,
  request: LockRequest,
  base: Foundation,
): Promise<Lock> {
  const known = await findLock(context, source, request);
  if (known !== undefined) return known;
  const key = requestDigest(request);
  const text = await shareWork(context.engine, `lock ${key}`, context.signal, async () => {
    const resolved = writeLockText(request, await resolve(context, source.manifest, request, base));
    await writeLock(context.storeDirectory, key, resolved).catch((error: Error) => {
      note(context, "lock", `the lock could not be kept in ${context.storeDirectory}: ${error.message}`);
    });
    return resolved;
  });
  return requireFit({ text, from: "what uv resolved" }, request);
}

/** The lock that is there already: beside the manifest (there DEPENDENCY_UNRESOLVED is raised for a bad one) or in the store. */
export async function findLock(
  context: ImageContext,
  source: LockSource,
  request: LockRequest,
): Promise<Lock | undefined> {
  const given = await readGivenLock(source);
  if (given !== undefined) return requireFit(given, request);
  const stored = await readLock(context.storeDirectory, requestDigest(request));
  return stored === undefined ? undefined : readStoredLock(stored, request);
}

/** undefined for a damaged one: it is made again. */
function readStoredLock(text: string, request: LockRequest): Lock | undefined {
  try {
    return parseLock(text, request, "the store");
  } catch (error) {
    if (isPyisolateError(error, "DEPENDENCY_UNRESOLVED")) return undefined;
    throw error;
  }
}

interface GivenLock {
  readonly text: string;
  readonly from: string;
}

async function readGivenLock(source: LockSource): Promise<GivenLock | undefined> {
  const file = join(source.packDirectory, "manifest.lock");
  const text = await readFile(file, "utf8").catch(() => undefined);
  return text === undefined ? undefined : { text, from: file };
}

function requireFit({ text, from }: GivenLock, request: LockRequest): Lock {
  const lock = parseLock(text, request, from);
  if (lock !== undefined) return lock;
  throw new PyisolateError(
    "DEPENDENCY_UNRESOLVED",
    `${from} was not made for what the manifest asks: dependencies, python ${request.python} on linux ${request.architecture}`,
    { next: "Remove it; the dependencies are then resolved again." },
  );
}

/** Runs uv in a build step and gives what it wrote. */
async function resolve(
  context: ImageContext,
  manifest: Manifest,
  request: LockRequest,
  base: Foundation,
): Promise<string> {
  const tools = await ensureTools(context, "lock");
  for (const text of context.host.notes) note(context, "lock", text);
  const reference = `pyisolate/lock:${randomUUID()}`;
  const requirements = request.requirements.entries.map(({ line }) => `${line}\n`).join("");
  const labels = temporaryLabels("lock", requestDigest(request), Date.now(), await context.ownerLabels());
  const logLines: string[] = [];
  let resolved = "";
  await reported(context, "lock", async () => {
    try {
      await runBuild(context, "lock", {
        reference,
        labels,
        dockerfile: lockDockerfile(request.wheelsOnly),
        entries: [
          ...lockEntries({ "requirements.txt": requirements }, request.requirements.wheels),
          ...textEntries("host", hostFiles(context.host, tools.wheelhouse !== undefined)),
        ],
        buildArgs: toolArgs(base, tools),
        network: "default",
        onLog: (line) => logLines.push(line),
      });
      resolved = await readOut(context, reference, labels);
    } catch (error) {
      if (!isPyisolateError(error, "IMAGE_BUILD_FAILED")) throw error;
      throw explainUnresolved(error, manifest, request.requirements.entries, logLines) ?? error;
    } finally {
      await context.engine.images.remove(reference);
    }
  });
  return resolved;
}

/** The folder lock/ of a context: the requirements file, and local wheels where its lines name them. */
export function lockEntries(files: Readonly<Record<string, string>>, wheels: readonly LocalWheel[]): ContextEntry[] {
  const copies = wheels.map(
    ({ name, source, sizeBytes, digest }): ContextEntry => ({
      type: "file",
      path: name,
      source,
      sizeBytes,
      digest,
      isExecutable: false,
    }),
  );
  return [...textEntries("lock", files), ...below("lock/wheels", copies)];
}

/** Build arguments of a Dockerfile that mounts uv and the wheelhouse. */
export function toolArgs(parent: Pick<Foundation, "reference">, tools: BuildTools): Record<string, string> {
  return {
    PARENT: parent.reference,
    UV: tools.uv,
    ...(tools.wheelhouse === undefined ? {} : { WHEELHOUSE: tools.wheelhouse }),
  };
}

/** /lock.txt of the image, through a container that is never started. */
async function readOut(context: ImageContext, reference: string, labels: Labels): Promise<string> {
  const { containers } = context.engine;
  const id = await containers.create({
    image: reference,
    command: ["none"],
    env: {},
    labels,
    workingDir: "/",
    user: "0:0",
    network: "none",
    readOnlyRoot: true,
    dropAllCapabilities: true,
    noNewPrivileges: true,
    seccomp: "default",
    ipc: "private",
    init: false,
    limits: {
      memoryBytes: 16 * 1024 ** 2,
      cpuPercent: 100,
      pids: 16,
      openFiles: 64,
      fileSizeBytes: 0,
      shmBytes: 1024 ** 2,
      logBytes: 1024 ** 2,
    },
    mounts: [],
    tmpfs: [],
  });
  try {
    return (await containers.readFile(id, "/lock.txt")).toString("utf8");
  } finally {
    await containers.remove(id);
  }
}

// Segments: how a pack and its host come to share memory, seen from outside. By descriptor: a second socket beside the
// control socket. By path: a directory of the machine's /dev/shm that only its owner may add files to, mounted into the
// container. Must not know what lies in the memory.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, lstat, mkdir, readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { orUnusable } from "./rundir.ts";

export type SegmentsRoute = "descriptor" | "mounted" | "none";

/** The directory in the container; the worker learns it from the environment. */
export const mountedSegmentsTarget = "/run/pyisolate-segments";
export const mountedSegmentsVariable = "PYISOLATE_SEGMENTS";

const sharedMemory = "/dev/shm";

/** All users and run roots of a machine share /dev/shm: the name tells whose a directory is, wherever a root is seen. */
async function prefixOf(runRoot: string): Promise<string> {
  const { dev, ino } = await orUnusable(runRoot, "looked at", stat(runRoot));
  return `pyisolate-${createHash("sha256").update(`${dev}:${ino}`).digest("hex").slice(0, 8)}-`;
}

/** A directory of shared memory for one pack. */
export interface SegmentsDirectory {
  readonly path: string;
  /** Removing twice is fine. */
  remove(): Promise<void>;
}

/**
 * Makes it: 0755, so that a container's user can open what the host makes there and make nothing.
 * `packId` begins with the id of its owner. Raises ISOLATION_UNAVAILABLE.
 */
export async function createSegmentsDirectory(ownerDirectory: string, packId: string): Promise<SegmentsDirectory> {
  const path = join(sharedMemory, `${await prefixOf(dirname(ownerDirectory))}${packId}`);
  await orUnusable(path, "made", mkdir(path));
  await orUnusable(path, "opened to the container's user", chmod(path, 0o755)); // whatever the umask
  return { path, remove: () => orUnusable(path, "removed", rm(path, { recursive: true, force: true })) };
}

/**
 * Removes the shared memory of a run root's programs whose owner directories are gone. What another user put there
 * under such a name is left alone. Raises ISOLATION_UNAVAILABLE.
 */
export async function sweepSegments(runRoot: string): Promise<void> {
  const prefix = await prefixOf(runRoot);
  for (const name of await orUnusable(sharedMemory, "read", readdir(sharedMemory))) {
    if (!name.startsWith(prefix)) continue;
    const [ownerId = ""] = name.slice(prefix.length).split("-");
    if (existsSync(join(runRoot, ownerId))) continue;
    const path = join(sharedMemory, name);
    const found = await lstat(path).catch(() => undefined);
    if (!found?.isDirectory() || found.uid !== process.getuid?.()) continue;
    await orUnusable(path, "removed", rm(path, { recursive: true, force: true }));
  }
}

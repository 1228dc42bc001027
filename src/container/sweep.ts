// Sweep: removes what dead programs of this user left behind: their packs' containers, what their builds made for themselves,
// their directories. Whether a program lives is told by connecting to its owner.sock, never by pid or age. What cannot be told
// for sure (no socket, another run root, a running container whose owner's directory is not seen from here, as with another
// /tmp) is left alone.

import { existsSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ContainerSummary, Engine } from "../engine/engine.ts";
import { anyOwnerLabels, kindOf, ownerDirectoryIn } from "./labels.ts";
import { openRunRoot, orUnusable, ownerSocketName } from "./rundir.ts";
import { sweepSegments } from "./segments.ts";

/** bind and listen are two steps: between them a living owner refuses for a moment. */
const secondLookMs = 50;

export interface Swept {
  /** Ids of removed containers. */
  readonly containers: readonly string[];
  readonly images: readonly SweptImage[];
  /** Removed owner directories. */
  readonly directories: readonly string[];
}

interface SweptImage {
  /** A tag; the id of an image that has none. */
  readonly reference: string;
  readonly kind: string;
  readonly pack: string | undefined;
  readonly bytes: number;
}

/**
 * Removes containers, images and directories of programs of `runRoot` that are dead; with `dryRun` it only says which.
 * Raises ISOLATION_UNAVAILABLE, ENGINE_….
 */
export async function sweep(
  engine: Engine,
  runRoot: string,
  { dryRun = false }: { readonly dryRun?: boolean } = {},
): Promise<Swept> {
  const root = resolve(runRoot);
  await openRunRoot(root);
  const directories = await deadOwnerDirectories(root);
  const containers: string[] = [];
  for (const container of await engine.containers.list(anyOwnerLabels)) {
    if (!isOrphan(container, root, directories)) continue;
    if (!dryRun) await engine.containers.remove(container.id);
    containers.push(container.id);
  }
  const images = await sweepImages(engine, root, directories, dryRun);
  if (dryRun) return { containers, images, directories };
  for (const directory of directories) {
    await orUnusable(directory, "removed", rm(directory, { recursive: true, force: true }));
  }
  await sweepSegments(root);
  return { containers, images, directories };
}

async function sweepImages(
  engine: Engine,
  root: string,
  deadDirectories: readonly string[],
  dryRun: boolean,
): Promise<SweptImage[]> {
  const swept: SweptImage[] = [];
  for (const { id, tags, labels, sizeBytes } of await engine.images.list(anyOwnerLabels)) {
    if (!deadDirectories.includes(ownerDirectoryIn(root, labels) ?? "")) continue;
    for (const reference of tags.length === 0 ? [id] : tags) {
      if (!dryRun && !(await engine.images.remove(reference))) continue;
      swept.push({ reference, ...kindOf(labels), bytes: sizeBytes });
    }
  }
  return swept;
}

function isOrphan(container: ContainerSummary, root: string, deadDirectories: readonly string[]): boolean {
  const owner = ownerDirectoryIn(root, container.labels);
  if (owner === undefined) return false;
  if (deadDirectories.includes(owner)) return true;
  // A build reads from containers that never run: that one does not tells nothing about its owner.
  return kindOf(container.labels).kind === "pack" && !container.running && !existsSync(owner);
}

async function deadOwnerDirectories(root: string): Promise<string[]> {
  const entries = await orUnusable(root, "read", readdir(root, { withFileTypes: true }));
  const directories = entries.filter((entry) => entry.isDirectory()).map((entry) => join(root, entry.name));
  const areDead = await Promise.all(directories.map((directory) => isDead(join(directory, ownerSocketName))));
  return directories.filter((_directory, index) => areDead[index]);
}

async function isDead(ownerSocket: string): Promise<boolean> {
  if (!(await isRefused(ownerSocket))) return false;
  await sleep(secondLookMs);
  return isRefused(ownerSocket);
}

function isRefused(socketPath: string): Promise<boolean> {
  return new Promise((resolveRefused) => {
    const socket = connect(socketPath);
    socket.once("connect", () => {
      socket.destroy();
      resolveRefused(false);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolveRefused(error.code === "ECONNREFUSED"));
  });
}

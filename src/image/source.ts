// Source: what of a folder goes into an image, and the digest of it. Links are never followed.

import { createHash } from "node:crypto";
import { createReadStream, type Dirent, existsSync } from "node:fs";
import { lstat, readdir, readFile, readlink, stat } from "node:fs/promises";
import { join, normalize } from "node:path";
import { PyisolateError } from "../errors.ts";
import { type ContextEntry, sortEntries } from "./context.ts";
import { digestOf } from "./digest.ts";
import { type Reading, shortReading } from "./reading.ts";

/** Never copied: history, caches, environments. A folder with a pyvenv.cfg is an environment whatever its name. */
const excludedNames = new Set([
  ...[".git", ".hg", ".svn", "__pycache__", "node_modules", ".venv", ".tox", ".nox"],
  ...[".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", ".DS_Store", ".idea", ".vscode"],
]);

/** Never copied: what may hold a secret, and compiled code, which the build makes itself. */
const excludedPatterns = [
  /^\.env(\..*)?$/,
  /^\.(netrc|npmrc|pypirc|git-credentials|ssh|aws|docker|gnupg)$/,
  /^id_(rsa|dsa|ecdsa|ed25519)/,
  /\.(pem|key|p12|pfx|keystore)$/i,
  /\.py[co]$/,
];

/** At the top of a pack: read by this program, so a changed limit rebuilds no image. */
const manifestFiles = new Set(["manifest.yaml", "manifest.lock"]);

const parallelReads = 16;
const wholeFileBytes = 4 * 1024 ** 2;

export interface Source {
  /** Sorted by path. */
  readonly entries: readonly ContextEntry[];
  /** Of paths, kinds, modes and contents. */
  readonly digest: string;
}

/**
 * Reads a pack's folder. Raises SOURCE_INVALID for links that leave it, devices, sockets, and what cannot be read, and the
 * reading's abort reason.
 */
export async function readPackSource(directory: string, reading: Reading = shortReading()): Promise<Source> {
  return readFolder({ directory, reading, isLeftOut: (path) => manifestFiles.has(path) });
}

/** Reads any folder by the same rules. */
export async function readSource(directory: string): Promise<Source> {
  return readFolder({ directory, reading: shortReading(), isLeftOut: () => false });
}

interface Folder {
  readonly directory: string;
  readonly reading: Reading;
  /** Of a path below it. */
  readonly isLeftOut: (path: string) => boolean;
}

async function readFolder(folder: Folder): Promise<Source> {
  const entries: ContextEntry[] = [];
  await collect(folder, "", entries);
  const named = await nameContents(sortEntries(entries), folder.reading);
  return { entries: named, digest: digestOf(named.map(rowOf)) };
}

function isExcluded(name: string): boolean {
  return excludedNames.has(name) || excludedPatterns.some((pattern) => pattern.test(name));
}

/** What of a path below `directory` keeps it out of images, in words: a link, or what is never copied; undefined: nothing. */
export async function findUncopied(directory: string, path: string): Promise<string | undefined> {
  const names = normalize(path).split("/");
  for (const [index, name] of names.entries()) {
    const reached = names.slice(0, index + 1).join("/");
    if (isExcluded(name)) return reached;
    const entry = await lstat(join(directory, reached)).catch(() => undefined);
    if (entry?.isSymbolicLink()) return `the link ${reached}`;
    if (entry?.isDirectory() && existsSync(join(directory, reached, "pyvenv.cfg"))) return `the environment ${reached}`;
  }
  return undefined;
}

/** Adds what lies below `path` of a folder. */
async function collect(folder: Folder, path: string, entries: ContextEntry[]): Promise<void> {
  const { directory, reading, isLeftOut } = folder;
  const children = await listFolder(join(directory, path));
  if (children.some(({ name }) => name === "pyvenv.cfg") && path !== "") return;
  if (path !== "") entries.push({ type: "folder", path });
  for (const child of children) {
    const below = path === "" ? child.name : `${path}/${child.name}`;
    if (isExcluded(child.name) || isLeftOut(below)) continue;
    if (child.isDirectory()) await collect(folder, below, entries);
    else entries.push(await readEntry(directory, below, child));
    if (child.isFile()) reading.found();
  }
}

async function listFolder(folder: string): Promise<Dirent[]> {
  return readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw new PyisolateError(
      "SOURCE_INVALID",
      `cannot read the folder ${folder}: ${(error as Error).message}`,
      { next: "Make it readable for this user, or move it out of the pack's folder." },
      error,
    );
  });
}

async function readEntry(root: string, path: string, child: Dirent): Promise<ContextEntry> {
  const source = join(root, path);
  if (child.isSymbolicLink()) return readLink(root, path);
  if (!child.isFile()) {
    const kind = child.isSocket() ? "a socket" : child.isFIFO() ? "a pipe" : "a device";
    throw new PyisolateError(
      "SOURCE_INVALID",
      `${source} is ${kind}; only files, folders and links can be copied into an image`,
      {
        next: `Move it out of ${root}.`,
      },
    );
  }
  const { size, mode } = await stat(source);
  return { type: "file", path, source, sizeBytes: size, isExecutable: (mode & 0o111) !== 0 };
}

async function readLink(root: string, path: string): Promise<ContextEntry> {
  const target = await readlink(join(root, path));
  const reached = normalize(join(path, "..", target));
  if (target.startsWith("/") || reached === ".." || reached.startsWith("../")) {
    throw new PyisolateError(
      "SOURCE_INVALID",
      `${join(root, path)} links to ${target}, which is outside the pack's folder`,
      {
        next: "Copy the file into the folder, or mount it with the manifest's `mounts`.",
      },
    );
  }
  return { type: "link", path, target };
}

/** Gives every file the digest of its content. */
async function nameContents(entries: readonly ContextEntry[], reading: Reading): Promise<ContextEntry[]> {
  const named: ContextEntry[] = [];
  for (let at = 0; at < entries.length; at += parallelReads) {
    const some = entries.slice(at, at + parallelReads).map(async (entry) => {
      if (entry.type !== "file") return entry;
      const digest = await digestFile(entry.source, entry.sizeBytes, reading);
      reading.finished();
      return { ...entry, digest };
    });
    named.push(...(await Promise.all(some)));
  }
  return named;
}

/** What the digest of a source covers of one entry: not where it lies on this machine. */
function rowOf(entry: ContextEntry): string[] {
  switch (entry.type) {
    case "file":
      return [entry.path, entry.isExecutable ? "program" : "file", entry.digest ?? ""];
    case "link":
      return [entry.path, "link", entry.target];
    case "text":
      return [entry.path, "file", entry.content];
    case "folder":
      return [entry.path, "folder"];
  }
}

/** sha256 of a file's content. Raises SOURCE_INVALID when it cannot be read, and the reading's abort reason. */
export async function digestFile(file: string, sizeBytes: number, reading: Reading): Promise<string> {
  const hash = createHash("sha256");
  const take = (bytes: Buffer) => {
    hash.update(bytes);
    reading.read(bytes.length);
  };
  try {
    if (sizeBytes <= wholeFileBytes) take(await readFile(file));
    else for await (const chunk of createReadStream(file, { highWaterMark: wholeFileBytes })) take(chunk as Buffer);
  } catch (error) {
    reading.throwIfAborted();
    throw new PyisolateError(
      "SOURCE_INVALID",
      `cannot read ${file}: ${(error as Error).message}`,
      { next: "Make it readable for this user, or move it out of the pack's folder." },
      error,
    );
  }
  return hash.digest("hex");
}

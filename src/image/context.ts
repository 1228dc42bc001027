// Context: the tar a build gets. The same content gives the same bytes: sorted, time 0, owner 0, two modes.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Pack, pack } from "tar-stream";
import { PyisolateError } from "../errors.ts";

/** One thing in the tar. `path` is relative, with slashes. */
export type ContextEntry =
  | { readonly type: "text"; readonly path: string; readonly content: string }
  | FileEntry
  | { readonly type: "link"; readonly path: string; readonly target: string }
  | { readonly type: "folder"; readonly path: string };

/** A file of this machine, read when the tar is. */
interface FileEntry {
  readonly type: "file";
  readonly path: string;
  readonly source: string;
  readonly sizeBytes: number;
  readonly isExecutable: boolean;
  /** sha256 of its content where that decides a digest: what is copied must be what was named. */
  readonly digest?: string;
}

type EntryHeader = Parameters<Pack["entry"]>[0];

/** Files up to this size are read as a whole: faster than a stream for each. */
const wholeFileBytes = 1024 ** 2;

/** The entries as a tar. The stream fails with SOURCE_INVALID when a file cannot be read or changes meanwhile. */
export function packContext(entries: readonly ContextEntry[]): Readable {
  const tar = pack();
  writeEntries(tar, sortEntries(withFolders(entries))).then(
    () => tar.finalize(),
    (error: unknown) => tar.destroy(error as Error),
  );
  return tar as unknown as Readable;
}

/** The entries below a folder of the context. */
export function below(folder: string, entries: readonly ContextEntry[]): ContextEntry[] {
  return entries.map((entry) => ({ ...entry, path: `${folder}/${entry.path}` }));
}

export function textEntries(folder: string, files: Readonly<Record<string, string>>): ContextEntry[] {
  return Object.entries(files).map(([name, content]) => ({ type: "text", path: `${folder}/${name}`, content }));
}

export function sortEntries(entries: readonly ContextEntry[]): ContextEntry[] {
  return [...entries].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/** Adds the folders that entries lie in, so that the engine need not make them up (with the time of the day). */
function withFolders(entries: readonly ContextEntry[]): ContextEntry[] {
  const known = new Set(entries.filter(({ type }) => type === "folder").map(({ path }) => path));
  const added: ContextEntry[] = [];
  for (const { path } of entries) {
    for (let at = path.indexOf("/"); at !== -1; at = path.indexOf("/", at + 1)) {
      const folder = path.slice(0, at);
      if (known.has(folder)) continue;
      known.add(folder);
      added.push({ type: "folder", path: folder });
    }
  }
  return [...entries, ...added];
}

async function writeEntries(tar: Pack, entries: readonly ContextEntry[]): Promise<void> {
  for (const entry of entries) {
    if (tar.destroyed) return;
    if (entry.type === "file") await writeFileEntry(tar, entry);
    else await writeWhole(tar, headersOf(entry), entry.type === "text" ? entry.content : undefined);
  }
}

async function writeFileEntry(tar: Pack, entry: FileEntry): Promise<void> {
  try {
    if (entry.sizeBytes <= wholeFileBytes) {
      const content = await readFile(entry.source);
      requireUnchanged(entry, content.length, createHash("sha256").update(content).digest("hex"));
      await writeWhole(tar, headersOf(entry), content);
    } else {
      const hash = createHash("sha256");
      const hashed = async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          yield chunk;
        }
      };
      await pipeline(createReadStream(entry.source), hashed, tar.entry(headersOf(entry)));
      requireUnchanged(entry, entry.sizeBytes, hash.digest("hex"));
    }
  } catch (error) {
    if (tar.destroyed) return;
    throw new PyisolateError(
      "SOURCE_INVALID",
      `cannot copy ${entry.source} into an image: ${(error as Error).message}`,
      { next: "Build again when nothing else writes to the folder." },
      error,
    );
  }
}

function requireUnchanged(entry: FileEntry, sizeBytes: number, digest: string): void {
  if (sizeBytes === entry.sizeBytes && (entry.digest === undefined || entry.digest === digest)) return;
  throw new Error("it changed while it was read");
}

/** Waits until the entry is taken: a tar of many files must not pile up in memory. */
function writeWhole(tar: Pack, headers: EntryHeader, content: string | Buffer | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error | null) => (error ? reject(error) : resolve());
    if (content === undefined) tar.entry(headers, done);
    else tar.entry(headers, content, done);
  });
}

function headersOf(entry: ContextEntry): EntryHeader {
  const common = { name: entry.path, mtime: new Date(0), uid: 0, gid: 0, uname: "", gname: "" };
  switch (entry.type) {
    case "text":
      return { ...common, type: "file", mode: 0o644, size: Buffer.byteLength(entry.content) };
    case "file":
      return { ...common, type: "file", mode: entry.isExecutable ? 0o755 : 0o644, size: entry.sizeBytes };
    case "link":
      return { ...common, type: "symlink", mode: 0o777, linkname: entry.target };
    case "folder":
      return { ...common, type: "directory", mode: 0o755 };
  }
}

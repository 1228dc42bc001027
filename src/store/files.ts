// Files: how everything in the store is read and written. A file is there as a whole or not at all; the store only saves
// work, so whatever cannot be read counts as not there, and whoever writes can go on when that fails.

import { randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

/** undefined when there is no such file, or none that can be read. */
export async function readStored(file: string): Promise<string | undefined> {
  return readFile(file, "utf8").catch(() => undefined);
}

/** Writes beside the file and renames: a reader sees the old text or the new one. */
export async function writeStored(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  const draft = `${file}.${randomUUID()}`;
  try {
    await writeFile(draft, text);
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

// Locks: what uv resolved, as lock text, by the digest of what was asked.

import { join } from "node:path";
import { readStored, writeStored } from "./files.ts";

/** undefined when nothing was stored for that request. */
export function readLock(storeDirectory: string, requestDigest: string): Promise<string | undefined> {
  return readStored(lockFile(storeDirectory, requestDigest));
}

export function writeLock(storeDirectory: string, requestDigest: string, text: string): Promise<void> {
  return writeStored(lockFile(storeDirectory, requestDigest), text);
}

function lockFile(storeDirectory: string, requestDigest: string): string {
  return join(storeDirectory, "locks", `${requestDigest}.lock`);
}

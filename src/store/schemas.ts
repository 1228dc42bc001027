// Schemas: the node schemas of a pack as JSON text, by the digest of its image. Whoever reads them parses them.

import { join } from "node:path";
import { readStored, writeStored } from "./files.ts";

/** undefined when nothing was stored for that image. */
export function readSchemas(storeDirectory: string, imageDigest: string): Promise<string | undefined> {
  return readStored(schemaFile(storeDirectory, imageDigest));
}

export function writeSchemas(storeDirectory: string, imageDigest: string, json: string): Promise<void> {
  return writeStored(schemaFile(storeDirectory, imageDigest), json);
}

function schemaFile(storeDirectory: string, imageDigest: string): string {
  return join(storeDirectory, "schemas", `${imageDigest}.json`);
}

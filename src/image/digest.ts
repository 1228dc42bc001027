// Digest: sha256 in hex of what decides an image's content. Structure is kept: ["ab", "c"] and ["a", "bc"] differ.

import { createHash } from "node:crypto";

type Digestible = string | number | boolean | null | readonly Digestible[];

export function digestOf(content: Digestible): string {
  return createHash("sha256").update(JSON.stringify(content)).digest("hex");
}

// What every verb is given. Verbs read no environment, print nothing and never exit.

import type { BuildProgress } from "../image/progress.ts";

export interface CommandContext {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Path of the operator's policy; default: see docs/manifest.md. */
  readonly policy?: string;
  readonly signal: AbortSignal;
  readonly onProgress: (event: BuildProgress) => void;
}

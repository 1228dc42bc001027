// Workbench: what every figure is given. Must not know any figure.

import type { Engine } from "../../src/engine/engine.ts";
import type { ExtensionManager } from "../../src/index.ts";
import type { Row } from "./row.ts";

export interface Workbench {
  readonly manager: ExtensionManager;
  readonly engine: Engine;
  /** Where scripts/bench.mjs put the rival's environment. */
  readonly rivalDirectory: string;
  /** Prints one line of progress. */
  say(line: string): void;
}

/** One figure of docs/performance.md. */
export interface Figure {
  readonly title: string;
  run(bench: Workbench): Promise<readonly Row[]>;
}

// Workbench: what every figure is given. Must not know any figure.

import type { Engine } from "../../src/engine/engine.ts";
import type { ExtensionConfig, ExtensionManager } from "../../src/index.ts";
import type { PythonHost } from "./hosts/host.ts";
import type { Rivals } from "./hosts/rivals.ts";
import type { Row } from "./row.ts";

export interface Workbench {
  readonly manager: ExtensionManager;
  readonly engine: Engine;
  readonly rivals: Rivals;
  /** Another manager, under a policy of policies/ if one is named. Its user owns it. */
  newManager(policy?: string): ExtensionManager;
  /** A Python program on our Python peer. Its user owns it. */
  ourPythonHost(): PythonHost;
  /** The blocking Python client of a limit. Its user owns it. */
  echoPythonHost(name: string): PythonHost;
  /** Prints one line of progress. */
  say(line: string): void;
}

/** One figure of docs/performance.md. */
export interface Figure {
  readonly title: string;
  /** Packs it runs: built before it is measured. */
  readonly packs: readonly (string | ExtensionConfig)[];
  /** Folders under out/bench that it needs. */
  readonly environments: readonly string[];
  run(bench: Workbench): Promise<readonly Row[]>;
}

// BuildOwner: what tells other programs that a build is alive. A directory of its own in the run root, made when the build first
// makes something for itself and gone with the build, so that a failed one leaves nothing in a program that goes on.

import { ownerLabels } from "../container/labels.ts";
import { createOwnerDirectory, type OwnerDirectory } from "../container/rundir.ts";
import { sweep } from "../container/sweep.ts";
import type { Engine, Labels } from "../engine/engine.ts";

export class BuildOwner {
  readonly #engine: Engine;
  readonly #runRoot: string;
  #directory: Promise<OwnerDirectory> | undefined;

  constructor(engine: Engine, runRoot: string) {
    this.#engine = engine;
    this.#runRoot = runRoot;
  }

  /** Removes what dead programs left first. Raises ISOLATION_UNAVAILABLE, ENGINE_…. */
  async labels(): Promise<Labels> {
    this.#directory ??= sweep(this.#engine, this.#runRoot).then(() => createOwnerDirectory(this.#runRoot));
    return ownerLabels((await this.#directory).path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const directory = await this.#directory?.catch(() => undefined); // whoever asked for labels has the error
    await directory?.close();
  }
}

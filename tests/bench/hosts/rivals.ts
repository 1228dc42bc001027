// Rivals: which program drives each of them, in the environments that scripts/lib/rivals.mjs made.

import { cpSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { PythonHost } from "./host.ts";

/** Where a rival's environment lies under out/bench. */
export const environments = {
  sealed: "pyisolate-0.10.2",
  coupled: "pyisolate-0.10.2-torch",
  comfyEnv: "comfy-env-0.4.46",
  torch: "torch-2.13.0",
} as const;

/** What they are called in rows. */
export const rivalNames = {
  sealed: "pyisolate 0.10.2, sealed worker (Python host)",
  coupled: "pyisolate 0.10.2, host-coupled (Python host)",
  comfyEnv: "comfy-env 0.4.46 (Python host)",
  torch: "torch.multiprocessing 2.13 (Python host)",
} as const;

export class Rivals {
  readonly #directory: string;

  /** `directory`: out/bench. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  pyisolateSealed(pack: string): PythonHost {
    return this.#pyisolate("sealed", pack);
  }

  pyisolateCoupled(pack: string): PythonHost {
    return this.#pyisolate("coupled", pack);
  }

  comfyEnv(pack: string): PythonHost {
    const worker = join(this.#directory, environments.comfyEnv, "worker/bin/python");
    return this.#host("comfyEnv", "comfy_env_host.py", pack, (copy) => [copy, worker]);
  }

  torch(pack: string): PythonHost {
    return this.#host("torch", "torch_host.py", pack, (copy) => [copy]);
  }

  #pyisolate(model: "sealed" | "coupled", pack: string): PythonHost {
    const extensions = join(this.#directory, environments[model], "extensions");
    return this.#host(model, "pyisolate_host.py", pack, (copy) => [model, copy, extensions]);
  }

  #host(
    rival: keyof typeof environments,
    script: string,
    pack: string,
    args: (pack: string) => readonly string[],
  ): PythonHost {
    const directory = join(this.#directory, environments[rival]);
    // Its interpreter may write byte code beside the pack's files: into a copy, not into our sources.
    const copy = join(directory, "packs", basename(pack));
    mkdirSync(copy, { recursive: true });
    cpSync(pack, copy, { recursive: true });
    return new PythonHost({
      name: rivalNames[rival],
      python: join(directory, "venv/bin/python"),
      script,
      args: args(copy),
      log: join(directory, "log"),
    });
  }
}

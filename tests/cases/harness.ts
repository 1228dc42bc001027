// What the cases share: a run root of their own, the command line as a child process, and a look for what is left behind.

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { connectEngine } from "../../src/engine/docker.ts";
import type { Engine } from "../../src/engine/engine.ts";
import { ExtensionManager } from "../../src/index.ts";

const root = join(import.meta.dirname, "../..");
export const packsDirectory = join(import.meta.dirname, "packs");
export const examplesDirectory = join(root, "examples");
export const photograph = join(examplesDirectory, "astronaut.jpg");

export interface CommandOutcome {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A place of its own on the machine's engine: nobody else's containers and sockets are seen in it. */
export class Place {
  readonly directory: string;
  readonly engine: Engine;
  readonly environment: Readonly<Record<string, string | undefined>>;

  static async make(): Promise<Place> {
    return new Place(
      await mkdtemp(join(tmpdir(), "pi-")),
      await connectEngine({ dockerHost: process.env.DOCKER_HOST }),
    );
  }

  private constructor(directory: string, engine: Engine) {
    this.directory = directory;
    this.engine = engine;
    this.environment = { ...process.env, XDG_RUNTIME_DIR: directory };
  }

  manager(options: { policy?: string } = {}): ExtensionManager {
    return new ExtensionManager({ environment: this.environment, ...options });
  }

  /** Runs `pyisolate …` in this place's directory, unless told another. */
  async pyisolate(
    args: readonly string[],
    options: { cwd?: string; env?: Record<string, string> } = {},
  ): Promise<CommandOutcome> {
    const { exitCode, stdout, stderr } = await execa(process.execPath, [join(root, "dist/entry/main.js"), ...args], {
      cwd: options.cwd ?? this.directory,
      env: { ...this.environment, ...options.env },
      reject: false,
    });
    return { exit: exitCode ?? -1, stdout, stderr };
  }

  /** Starts `pyisolate …` and lets it run. */
  start(args: readonly string[]) {
    const program = join(root, "dist/entry/main.js");
    return execa(process.execPath, [program, ...args], { cwd: this.directory, env: this.environment, reject: false });
  }

  async untilContainerRuns(): Promise<void> {
    while (!(await this.#containers()).some(({ running }) => running)) await delay(50);
  }

  /** Containers, sockets and directories that programs of this place left behind: none, as a rule. */
  async leftovers(): Promise<string[]> {
    const files = await readdir(this.#runRoot).catch(() => []);
    return [
      ...(await this.#containers()).map((container) => `container ${container.id}`),
      ...files.map((file) => `file ${file}`),
    ];
  }

  get #runRoot(): string {
    return join(this.directory, "pyisolate");
  }

  async #containers() {
    const all = await this.engine.containers.list({ "pyisolate.kind": "pack" });
    return all.filter((container) => container.labels["pyisolate.owner"]?.startsWith(this.#runRoot));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

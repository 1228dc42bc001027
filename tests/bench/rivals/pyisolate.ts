// pyisolate 0.10.2: drives the rival's Python host, which times its own calls. The environment was made by
// scripts/bench.mjs; how the rival is used stands in pyisolate_host.py.

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { cpSync, mkdirSync, openSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";

const hostProgram = join(import.meta.dirname, "pyisolate_host.py");

export class PyisolateRival {
  readonly name = "pyisolate 0.10.2 (Python host)";
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  /** `directory` holds its virtual environment in `venv`; its extension's environment and its log go there too. */
  constructor(directory: string, pack: string) {
    // Its interpreter writes byte code beside the pack's files: into a copy, not into our sources.
    const copy = join(directory, "packs", basename(pack));
    mkdirSync(copy, { recursive: true });
    cpSync(pack, copy, { recursive: true });
    const programs = join(directory, "venv/bin");
    this.#child = spawn(join(programs, "python"), [hostProgram, copy, join(directory, "extensions")], {
      env: { ...process.env, PATH: `${programs}:${process.env.PATH}` },
      stdio: ["pipe", "pipe", openSync(join(directory, "log"), "w")],
    }) as ChildProcessWithoutNullStreams;
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Starts the extension and makes the first call; milliseconds. */
  async start(): Promise<number> {
    const [ms = Number.NaN] = await this.#ask({ do: "start" });
    return ms;
  }

  calls(node: string, count: number): Promise<readonly number[]> {
    return this.#ask({ do: "calls", node, count });
  }

  async pin(hostCpu: number, packCpu: number): Promise<void> {
    await this.#ask({ do: "pin", host_cpu: hostCpu, pack_cpu: packCpu });
  }

  async stop(): Promise<void> {
    await this.#ask({ do: "stop" });
  }

  /** Ends the host program. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    if (this.#child.exitCode === null) await new Promise((resolve) => this.#child.once("exit", resolve));
  }

  async #ask(request: object): Promise<readonly number[]> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const answer = await this.#lines.next();
    if (answer.done) throw new Error(`${this.name} ended instead of answering ${JSON.stringify(request)}; see its log`);
    return JSON.parse(answer.value).ms;
  }
}

// Host: drives a Python host program, which times its own calls (serve.py has the requests it takes).

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

export interface PythonHostOptions {
  readonly name: string;
  /** Interpreter; the programs beside it come first in PATH. */
  readonly python: string;
  /** File in this folder. */
  readonly script: string;
  readonly args: readonly string[];
  /** File that gets all it prints. */
  readonly log: string;
  readonly env?: Readonly<Record<string, string>>;
}

export class PythonHost implements AsyncDisposable {
  readonly name: string;
  readonly #log: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor({ name, python, script, args, log, env = {} }: PythonHostOptions) {
    this.name = name;
    this.#log = log;
    const output = openSync(log, "w");
    this.#child = spawn(python, [join(import.meta.dirname, script), ...args], {
      env: {
        ...process.env,
        PATH: `${dirname(python)}:${process.env.PATH}`,
        PYTHONDONTWRITEBYTECODE: "1",
        ...env,
      },
      stdio: ["pipe", "pipe", output],
    }) as ChildProcessWithoutNullStreams;
    closeSync(output);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Asks for one thing at a time. Rejects with what the program says it failed on. */
  async ask<Result>(what: string, options: object = {}): Promise<Result> {
    this.#child.stdin.write(`${JSON.stringify({ do: what, ...options })}\n`);
    const answer = await this.#lines.next();
    if (answer.done) throw new Error(`${this.name} ended instead of answering "${what}"; see ${this.#log}`);
    const { result, error } = JSON.parse(answer.value);
    if (error !== undefined) throw new Error(error);
    return result;
  }

  /** Samples of a workload, `count` of them. */
  measure(what: string, options: object = {}): (count: number) => Promise<readonly number[]> {
    return (count) => this.ask<number[]>(what, { ...options, count });
  }

  async pin(hostCpu: number, packCpu: number): Promise<void> {
    await this.ask("pin", { host_cpu: hostCpu, pack_cpu: packCpu });
  }

  /** Ends the program, and its worker. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin.end();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const impatience = setTimeout(() => this.#child.kill("SIGKILL"), 15_000);
    await new Promise((resolve) => this.#child.once("exit", resolve));
    clearTimeout(impatience);
  }
}

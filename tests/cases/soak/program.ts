// Soak: a program that uses three packs for long, two of them in one group, and writes down what it holds before and
// after. Run by soak.test.ts with --expose-gc, a policy, a place for its files and a number of calls; prints JSON.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Extension, ExtensionManager, isPyisolateError, Tensor } from "../../../src/index.ts";

const KiB = 1024;
const warmUpCalls = 250;
const callsAtOnce = 8;
/** One call in so many ends its pack's process. */
const deathEvery = 400;

const names = ["soak_a", "soak_b", "soak_c"] as const;
type Name = (typeof names)[number];

/** What this process holds now. */
interface Holdings {
  readonly descriptors: number;
  /** Mappings of shared memory. */
  readonly mappings: number;
  /** Sockets, timers and so on that the event loop knows. */
  readonly handles: number;
  /** Directories of ours in /dev/shm. */
  readonly shm: readonly string[];
  readonly residentBytes: number;
}

const [policy, runRoot, calls] = process.argv.slice(2) as [string, string, string];
const shmPrefix = `pyisolate-${createHash("sha256").update(join(runRoot, "pyisolate")).digest("hex").slice(0, 8)}-`;

function holdings(): Holdings {
  const maps = readFileSync("/proc/self/maps", "utf8").split("\n");
  return {
    descriptors: readdirSync("/proc/self/fd").length,
    mappings: maps.filter((line) => /memfd:|\/dev\/shm/.test(line)).length,
    handles: process.getActiveResourcesInfo().length,
    shm: readdirSync("/dev/shm").filter((name) => name.startsWith(shmPrefix)),
    residentBytes: process.memoryUsage.rss(),
  };
}

/** The same numbers at every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}

class Program {
  readonly #manager: ExtensionManager;
  readonly #packs = new Map<Name, Promise<Extension>>();
  readonly #next = numbers(1);
  /** How calls ended: "ok", or the code of their error. */
  readonly endings: Record<string, number> = {};
  deaths = 0;
  progressEvents = 0;
  wrongResults = 0;

  constructor(manager: ExtensionManager) {
    this.#manager = manager;
  }

  #load(name: Name): Promise<Extension> {
    const directory = join(import.meta.dirname, "../packs/soak");
    const load = this.#manager.loadExtension({ name, module_path: directory });
    this.#packs.set(name, load);
    return load;
  }

  async loadAll(): Promise<void> {
    for (const name of names) await this.#load(name);
  }

  async run(calls: number): Promise<void> {
    let left = calls;
    const worker = async () => {
      while (left > 0) {
        left -= 1;
        await this.#step(left % deathEvery === deathEvery / 2);
      }
    };
    await Promise.all(Array.from({ length: callsAtOnce }, worker));
  }

  async #step(isDeath: boolean): Promise<void> {
    const name = names[this.#next(isDeath ? 2 : 3)] as Name;
    const pack = await (this.#packs.get(name) as Promise<Extension>);
    try {
      if (isDeath) await pack.executeNode("Exit", { x: null });
      else await this.#call(pack);
      this.#count("ok");
    } catch (error) {
      if (!isPyisolateError(error)) throw error;
      this.#count(error.code);
    }
    if (!isDeath) return;
    this.deaths += 1;
    await this.#load(name);
  }

  #count(ending: string): void {
    this.endings[ending] = (this.endings[ending] ?? 0) + 1;
  }

  #call(pack: Extension): Promise<void> {
    const kinds = [
      () => this.#plain(pack),
      () => this.#plain(pack),
      () => this.#small(pack),
      () => this.#large(pack),
      () => this.#large(pack),
      () => this.#handOn(pack),
      () => this.#forgotten(pack),
      () => this.#progress(pack),
      () => this.#cancelled(pack),
      () => this.#timedOut(pack),
      () => this.#execute(pack, "Fail", null),
    ];
    return (kinds[this.#next(kinds.length)] as () => Promise<void>)();
  }

  async #execute(pack: Extension, node: string, x: Tensor | null): Promise<void> {
    await pack.executeNode(node, { x });
  }

  #plain(pack: Extension): Promise<void> {
    return this.#execute(pack, "Nothing", null);
  }

  async #small(pack: Extension): Promise<void> {
    const x = new Tensor("float32", [16], new Float32Array(16).fill(3));
    const { outputs } = await pack.executeNode("HalfCopied", { x });
    this.#expect(outputs[0] as Tensor, 1.5);
  }

  /** Made by one pack, looked at here, released. */
  async #large(pack: Extension): Promise<void> {
    const [node, expected] = this.#pick([
      ["HalfInPlace", 1.5],
      ["HalfCopied", 1.5],
      ["Echo", 3],
      ["Slice", 3],
      ["FillInput", 7],
    ] as const);
    using x = await this.#tensor();
    const { outputs } = await pack.executeNode(node, { x });
    using result = outputs[0] as Tensor;
    this.#expect(result, expected);
    this.#expect(x, 3);
  }

  /** From one pack to another: by reference in the group, by a copy out of it. */
  async #handOn(pack: Extension): Promise<void> {
    using x = await this.#tensor();
    const made = await pack.executeNode("HalfInPlace", { x });
    using half = made.outputs[0] as Tensor;
    const other = await (this.#packs.get(names[this.#next(3)] as Name) as Promise<Extension>);
    const { outputs } = await other.executeNode("HalfCopied", { x: half });
    using quarter = outputs[0] as Tensor;
    this.#expect(quarter, 0.75);
  }

  /** Nobody releases these: the garbage collectors of both sides do. */
  async #forgotten(pack: Extension): Promise<void> {
    await this.#execute(pack, this.#pick(["Keep", "HalfInPlace", "Echo"] as const), await this.#tensor());
  }

  async #progress(pack: Extension): Promise<void> {
    await pack.executeNode("Count", { x: null }, { onProgress: () => (this.progressEvents += 1) });
  }

  async #cancelled(pack: Extension): Promise<void> {
    const abort = new AbortController();
    const node = this.#pick(["Sleep", "WaitUntilCancelled"] as const);
    const call = pack.executeNode(node, { x: await this.#tensor() }, { signal: abort.signal });
    setTimeout(() => abort.abort(), 5);
    await call;
  }

  async #timedOut(pack: Extension): Promise<void> {
    const node = this.#pick(["Sleep", "WaitUntilCancelled"] as const);
    await pack.executeNode(node, { x: null }, { timeoutMs: 5 });
  }

  #pick<T>(choices: readonly T[]): T {
    return choices[this.#next(choices.length)] as T;
  }

  /** Filled with 3; from 4 KiB to 4 MiB. */
  async #tensor(): Promise<Tensor> {
    const count = this.#pick([1, 64, 256, 1024]) * KiB;
    if (this.#next(2) === 0) return new Tensor("float32", [count], new Float32Array(count).fill(3));
    const tensor = await this.#manager.empty("float32", [count]);
    (tensor.toTypedArray() as Float32Array).fill(3);
    return tensor;
  }

  #expect(tensor: Tensor, value: number): void {
    const elements = tensor.toTypedArray() as Float32Array;
    if (elements[0] !== value || elements.at(-1) !== value) this.wrongResults += 1;
  }

  /** Waits until all shared memory has gone back, 15 s at most; then what this process and one worker hold. */
  async settle() {
    for (const pack of this.#packs.values()) await this.#execute(await pack, "Forget", null);
    const endMs = performance.now() + 15_000;
    while (performance.now() < endMs && holdings().mappings > 0) {
      (globalThis.gc as () => void)();
      await delay(250);
    }
    const pack = await (this.#packs.get("soak_c") as Promise<Extension>);
    const { outputs } = await pack.executeNode("LookAtItself", { x: null });
    return { host: holdings(), worker: outputs[0] };
  }
}

const manager = new ExtensionManager({ policy, environment: { ...process.env, XDG_RUNTIME_DIR: runRoot } });
const program = new Program(manager);
await program.loadAll();
await program.run(warmUpCalls);
const before = await program.settle();
await program.run(Number(calls));
const after = await program.settle();
await manager.stop();
const { endings, deaths, progressEvents, wrongResults } = program;
const stopped = holdings();
console.log(JSON.stringify({ before, after, stopped, endings, deaths, progressEvents, wrongResults }));

// Containers of packs with another program on one of their ends: a limit in place of the worker, or a Python program in
// place of this one. Same image, flags, mounts and interpreter as the product's own.

import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import type { PackDirectory } from "../../src/container/rundir.ts";
import type { Engine } from "../../src/engine/engine.ts";
import type { ExtensionManager } from "../../src/index.ts";
import type { PythonHost } from "./hosts/host.ts";
import { productModule } from "./product.ts";

const python = ["/opt/env/bin/python", "-S", "-c"];
const socketInContainer = "/run/pyisolate/control.sock";

/** A container that runs until it is stopped. */
export interface Running {
  stop(): Promise<void>;
}

export interface Program extends Running {
  /** Its connection, paused. */
  readonly connection: Socket;
  /** Milliseconds from the request to create the container until the first byte came, when it was waited for. */
  readonly firstByteMs: number;
}

/** Whose container it takes, and what runs in it. */
export interface Guest {
  /** Directory of the pack. */
  readonly pack: string;
  /** File in limits/: a Python program that dials the socket it is given. Default: the pack's worker. */
  readonly script?: string;
}

export class Containers implements AsyncDisposable {
  readonly #engine: Engine;
  readonly #manager: ExtensionManager;
  readonly #owner: Awaited<ReturnType<typeof openOwnerDirectory>>;

  static async open(engine: Engine, manager: ExtensionManager): Promise<Containers> {
    return new Containers(engine, manager, await openOwnerDirectory());
  }

  /** Use `open`. */
  constructor(engine: Engine, manager: ExtensionManager, owner: Awaited<ReturnType<typeof openOwnerDirectory>>) {
    this.#engine = engine;
    this.#manager = manager;
    this.#owner = owner;
  }

  /** A program that dials us. */
  async dialled(guest: Guest, { waitForFirstByte = false } = {}): Promise<Program> {
    const { listenForWorker } = await productModule("container/listener.js");
    const directory = await this.#owner.createPackDirectory();
    const spec = await this.#spec(guest, directory);
    const listener = await listenForWorker(directory.controlSocket);
    const startedMs = performance.now();
    const running = await this.#run(spec, directory);
    const connection = await listener.connection;
    if (waitForFirstByte) await new Promise((resolve) => connection.once("data", resolve).resume());
    const firstByteMs = performance.now() - startedMs;
    return {
      connection,
      firstByteMs,
      stop: async () => {
        connection.destroy();
        await running.stop();
      },
    };
  }

  /** A program that dials the Python host, which listens in the pack's directory; `options` go with what it accepts. */
  async dialling(host: PythonHost, guest: Guest, options: object = {}): Promise<Running> {
    const directory = await this.#owner.createPackDirectory();
    const spec = await this.#spec(guest, directory);
    await host.ask("listen", { directory: directory.path });
    const running = await this.#run(spec, directory);
    await host.ask("accept", options);
    return running;
  }

  /** All that it started must have stopped. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owner.close();
  }

  async #spec({ pack, script }: Guest, directory: PackDirectory) {
    const { packContainerSpec } = await productModule("container/spec.js");
    const { readSeccompProfile } = await productModule("container/seccomp.js");
    const { manifest, image } = await this.#manager.ensureImage(pack);
    const spec = packContainerSpec({
      image: image.reference,
      manifest,
      ownerDirectory: this.#owner.path,
      packDirectory: directory.path,
      packId: directory.id,
      caller: this.#owner.user,
      seccomp: readSeccompProfile(),
    });
    if (script === undefined) return spec;
    const program = readFileSync(join(import.meta.dirname, "limits", script), "utf8");
    return { ...spec, command: [...python, program, socketInContainer] };
  }

  async #run(spec: Parameters<Engine["containers"]["create"]>[0], directory: PackDirectory): Promise<Running> {
    const id = await this.#engine.containers.create(spec);
    await this.#engine.containers.start(id);
    return {
      stop: async () => {
        await this.#engine.containers.remove(id);
        await directory.remove();
      },
    };
  }
}

async function openOwnerDirectory() {
  const { chooseRunRoot, createOwnerDirectory } = await productModule("container/rundir.js");
  const user = { xdgRuntimeDir: process.env.XDG_RUNTIME_DIR, uid: process.getuid?.() ?? 0 };
  return createOwnerDirectory(chooseRunRoot(user));
}

// Limits that run in a pack's container: same image, same flags, same mounted directory, same interpreter; only the
// program is another one, so what ours takes longer is ours to answer for.

import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import type { Engine } from "../../../src/engine/engine.ts";
import type { ExtensionManager } from "../../../src/index.ts";
import { productModule } from "../product.ts";

const python = ["/opt/env/bin/python", "-S", "-c"];
const socketInContainer = "/run/pyisolate/control.sock";

export interface Program {
  /** Its connection, paused. */
  readonly connection: Socket;
  /** Milliseconds from the request to create the container until the first byte came, when it was waited for. */
  readonly firstByteMs: number;
  stop(): Promise<void>;
}

export interface ProgramOptions {
  /** Directory of the pack whose container it takes. */
  readonly pack: string;
  /** File in this folder: a Python program that dials the socket it is given. */
  readonly script: string;
  readonly waitForFirstByte: boolean;
}

/** Starts limit programs; dispose it when all of them have stopped. */
export async function openLimits(engine: Engine, manager: ExtensionManager) {
  const { chooseRunRoot, createOwnerDirectory } = await productModule("container/rundir.js");
  const { packContainerSpec } = await productModule("container/spec.js");
  const { readSeccompProfile } = await productModule("container/seccomp.js");
  const { listenForWorker } = await productModule("container/listener.js");
  const user = { xdgRuntimeDir: process.env.XDG_RUNTIME_DIR, uid: process.getuid?.() ?? 0 };
  const owner = await createOwnerDirectory(chooseRunRoot(user));

  async function start({ pack, script, waitForFirstByte }: ProgramOptions): Promise<Program> {
    const { manifest, image } = await manager.ensureImage(pack);
    const directory = await owner.createPackDirectory();
    const spec = {
      ...packContainerSpec({
        image: image.reference,
        manifest,
        ownerDirectory: owner.path,
        packDirectory: directory.path,
        packId: directory.id,
        caller: owner.user,
        seccomp: readSeccompProfile(),
      }),
      command: [...python, readFileSync(join(import.meta.dirname, script), "utf8"), socketInContainer],
    };
    const listener = await listenForWorker(directory.controlSocket);
    const startedMs = performance.now();
    const id = await engine.containers.create(spec);
    await engine.containers.start(id);
    const connection = await listener.connection;
    if (waitForFirstByte) await new Promise((resolve) => connection.once("data", resolve).resume());
    return {
      connection,
      firstByteMs: performance.now() - startedMs,
      stop: async () => {
        connection.destroy();
        await engine.containers.remove(id);
        await directory.remove();
      },
    };
  }

  return { start, [Symbol.asyncDispose]: () => owner.close() };
}

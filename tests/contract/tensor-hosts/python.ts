// The Python host of the tensor suite: host.py on this machine's python3, its worker in a container.

import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { readSeccompProfile } from "../../../src/container/seccomp.ts";
import { createSegmentsDirectory } from "../../../src/container/segments.ts";
import { packContainerSpec } from "../../../src/container/spec.ts";
import type { Host, Job, Outcome, Route } from "./host.ts";
import type { Place } from "./typescript.ts";

const source = join(import.meta.dirname, "../../../runtime-python/src");

export async function startPythonHost({ engine, owner, image, manifest }: Place, route: Route): Promise<Host> {
  const directory = await owner.createPackDirectory();
  const segments = route === "path" ? await createSegmentsDirectory(owner.path, directory.id) : undefined;
  const args = [directory.path, route, ...(segments === undefined ? [] : [segments.path])];
  const child = spawn("python3", [join(import.meta.dirname, "host.py"), ...args], {
    env: { ...process.env, PYTHONPATH: source, PYTHONDONTWRITEBYTECODE: "1" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<Record<string, unknown>> => {
    const line = await lines.next();
    if (line.done) throw new Error("host.py ended");
    return JSON.parse(line.value) as Record<string, unknown>;
  };
  const ask = async (request: object) => {
    child.stdin.write(`${JSON.stringify(request)}\n`);
    const answer = await next();
    if (answer.error !== undefined) throw new Error(String(answer.error));
    return answer;
  };
  await next(); // it listens
  const spec = packContainerSpec({
    image,
    manifest,
    ownerDirectory: owner.path,
    packDirectory: directory.path,
    packId: directory.id,
    segmentsDirectory: segments?.path,
    caller: owner.user,
    seccomp: readSeccompProfile(),
  });
  const id = await engine.containers.create(spec);
  const cleanUp = async () => {
    child.kill();
    await engine.containers.remove(id);
    await segments?.remove();
    await directory.remove();
  };
  try {
    await engine.containers.start(id);
    await next(); // the pack is loaded
  } catch (error) {
    await cleanUp();
    throw error;
  }
  return {
    run: async (job: Job) => (await ask(job)) as unknown as Outcome,
    bytesInUse: async () => (await ask({ ask: "bytes in use" })).bytes as number,
    close: async () => {
      try {
        child.stdin.end();
        const { leftovers } = await next();
        return leftovers as string[];
      } finally {
        await cleanUp();
      }
    },
  };
}

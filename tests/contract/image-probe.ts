// A program that resolves a pack's dependencies and hangs while it reads the lock out, to be killed there.
// Argument: a folder for its run root, its store and its pack. Prints one JSON line.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { connectEngine } from "../../src/engine/docker.ts";
import type { EngineContainers } from "../../src/engine/engine.ts";
import { ExtensionManager } from "../../src/index.ts";

const [folder = ""] = process.argv.slice(2);
const engine = await connectEngine({ dockerHost: process.env.DOCKER_HOST });
const containers = new Proxy(engine.containers, {
  get: (target, key) => {
    if (key === "readFile") return hang;
    const member: unknown = Reflect.get(target, key);
    return typeof member === "function" ? member.bind(target) : member;
  },
});
const hang: EngineContainers["readFile"] = async (id) => {
  const imageId = (await engine.containers.inspect(id))?.imageId ?? "";
  const image = await engine.images.inspect(imageId);
  console.log(JSON.stringify({ container: id, image: image?.tags[0], bytes: image?.sizeBytes }));
  return new Promise(() => setInterval(() => undefined, 60_000));
};

const directory = join(folder, "pack");
await mkdir(directory);
const environment = { ...process.env, XDG_RUNTIME_DIR: folder, XDG_STATE_HOME: folder };
const manager = new ExtensionManager({ engine: { ...engine, containers }, environment });
await manager.ensureImage({ name: "doomed_build", module_path: directory, dependencies: ["iniconfig"] });

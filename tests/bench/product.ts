// Product: the compiled program, as its users run it. Ours is measured through the library's door only; the inner files
// are for the limits, which run in the same container without our runtime.

import { join } from "node:path";
import { pathToFileURL } from "node:url";

interface Modules {
  "index.js": typeof import("../../src/index.ts");
  "engine/docker.js": typeof import("../../src/engine/docker.ts");
  "container/listener.js": typeof import("../../src/container/listener.ts");
  "container/rundir.js": typeof import("../../src/container/rundir.ts");
  "container/seccomp.js": typeof import("../../src/container/seccomp.ts");
  "container/spec.js": typeof import("../../src/container/spec.ts");
}

const dist = join(import.meta.dirname, "../../dist");

/** A module of dist/, with the types of its source. */
export async function productModule<Name extends keyof Modules>(name: Name): Promise<Modules[Name]> {
  return import(pathToFileURL(join(dist, name)).href);
}

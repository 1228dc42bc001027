// A program that runs one pack and waits to be killed. Arguments: run root, image. Prints one JSON line.

import { startContainer } from "../../../src/container/container.ts";
import { createOwnerDirectory } from "../../../src/container/rundir.ts";
import { connectEngine } from "../../../src/engine/docker.ts";
import { testManifest } from "../../unit/container-manifest.ts";

const [runRoot = "", image = ""] = process.argv.slice(2);
const owner = await createOwnerDirectory(runRoot);
const request = { image, manifest: testManifest({ name: "doomed_pack" }), owner, segments: "mounted" as const };
const container = await startContainer(await connectEngine({ dockerHost: process.env.DOCKER_HOST }), request, {
  startupTimeoutMs: 60_000,
});
console.log(JSON.stringify({ owner: owner.path, container: container.id }));
setInterval(() => undefined, 60_000);

// What the container tests share: an image whose worker runs the code a test sends, an owner directory of the test's own,
// and the check that nothing is left of either.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pack } from "tar-stream";
import { type RunningContainer, startContainer } from "../../src/container/container.ts";
import { createOwnerDirectory, type OwnerDirectory } from "../../src/container/rundir.ts";
import type { SegmentsRoute } from "../../src/container/segments.ts";
import { connectEngine } from "../../src/engine/docker.ts";
import type { ContainerSpec, Engine, EngineContainers } from "../../src/engine/engine.ts";
import { ensureBase } from "../../src/image/base.ts";
import { readHostSettings } from "../../src/image/host.ts";
import { defaultImageSettings } from "../../src/image/settings.ts";
import type { Manifest } from "../../src/manifest/manifest.ts";
import { testManifest } from "../unit/container-manifest.ts";

export const probeImage = "pyisolate/test-probe:3.11";

/** Starts containers of the probe image for one test file. Disposing checks nothing; `leftovers` does. */
export interface Bench {
  readonly engine: Engine;
  readonly runRoot: string;
  readonly owner: OwnerDirectory;
  start(changes?: Partial<Manifest>, options?: BenchOptions): Promise<RunningContainer>;
  /** Containers of this owner, and files in its directory beside its socket. */
  leftovers(): Promise<string[]>;
  close(): Promise<void>;
}

interface BenchOptions {
  readonly startupTimeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly segments?: SegmentsRoute;
  readonly peerUid?: (connection: Socket) => number | undefined;
  /** For positive controls: the spec the engine gets instead. */
  readonly alter?: (spec: ContainerSpec) => ContainerSpec;
}

export async function openBench(): Promise<Bench> {
  const engine = await connectEngine({ dockerHost: process.env.DOCKER_HOST });
  const scratch = mkdtempSync(join(tmpdir(), "pyisolate-test-"));
  await ensureProbeImage(engine, join(scratch, "store"));
  const runRoot = join(scratch, "run");
  const owner = await createOwnerDirectory(runRoot);
  return {
    engine,
    runRoot,
    owner,
    start: (changes = {}, { startupTimeoutMs = 60_000, signal, alter, segments = "none", peerUid } = {}) =>
      startContainer(
        alter === undefined ? engine : alterSpecs(engine, alter),
        { image: probeImage, manifest: testManifest(changes), owner, segments, peerUid },
        { startupTimeoutMs, ...(signal === undefined ? {} : { signal }) },
      ),
    leftovers: async () => {
      const containers = await engine.containers.list({ "pyisolate.owner": owner.path });
      return [...containers.map(({ id }) => id), ...readdirSync(owner.path).filter((name) => name !== "owner.sock")];
    },
    close: async () => {
      await owner.close();
      rmSync(scratch, { recursive: true });
    },
  };
}

/** Runs Python code in the probe; gives its variable `result`. Raises the code's exception as an Error. */
export async function runCode(connection: Socket, code: string): Promise<unknown> {
  connection.write(`${JSON.stringify(code)}\n`);
  const lines = createInterface({ input: connection });
  try {
    for await (const line of lines) {
      const answer = JSON.parse(line) as { result?: unknown; error?: string };
      if (answer.error !== undefined) throw new Error(answer.error);
      return answer.result;
    }
    throw new Error("the probe hung up");
  } finally {
    lines.close();
  }
}

async function ensureProbeImage(engine: Engine, storeDirectory: string): Promise<void> {
  const host = await readHostSettings(process.env, homedir());
  const ownerLabels = async () => ({});
  const base = await ensureBase("3.11", { engine, storeDirectory, host, settings: defaultImageSettings, ownerLabels });
  const context = pack();
  const worker = readFileSync(new URL("./container-probe/worker.py", import.meta.url), "utf8");
  context.entry({ name: "worker.py" }, worker);
  context.entry({ name: "Dockerfile" }, `FROM ${base.reference}\nCOPY worker.py /opt/pyisolate/pyisolate/worker.py\n`);
  context.finalize();
  await engine.images.build(Readable.from(context), {
    reference: probeImage,
    dockerfile: "Dockerfile",
    labels: { "pyisolate.kind": "test" },
    network: "none",
  });
}

function alterSpecs(engine: Engine, alter: (spec: ContainerSpec) => ContainerSpec): Engine {
  const { containers } = engine;
  const altered: EngineContainers = {
    create: (spec) => containers.create(alter(spec)),
    start: (id) => containers.start(id),
    inspect: (id) => containers.inspect(id),
    list: (labels) => containers.list(labels),
    wait: (id) => containers.wait(id),
    remove: (id) => containers.remove(id),
    logs: (id, lines) => containers.logs(id, lines),
    readFile: (id, path) => containers.readFile(id, path),
  };
  return { info: () => engine.info(), images: engine.images, volumes: engine.volumes, containers: altered };
}

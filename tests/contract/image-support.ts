// What the tests of engine and images share: the real engine, this machine's settings, a store and packs of their own.

import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { connectEngine } from "../../src/engine/docker.ts";
import type { ContainerSpec, Engine } from "../../src/engine/engine.ts";
import { ensureBase } from "../../src/image/base.ts";
import type { ImageRequest } from "../../src/image/ensure.ts";
import { readHostSettings } from "../../src/image/host.ts";
import { KIND, PACK } from "../../src/image/labels.ts";
import type { BuildProgress } from "../../src/image/progress.ts";
import { defaultImageSettings } from "../../src/image/settings.ts";
import type { ImageContext } from "../../src/image/work.ts";
import { parseManifest } from "../../src/manifest/parse.ts";
import { defaultPolicy } from "../../src/manifest/policy.ts";

const MiB = 1024 ** 2;

export interface ImageBench {
  readonly engine: Engine;
  readonly context: ImageContext;
  /** What builds reported, in order. */
  readonly events: BuildProgress[];
  /** An image with Python and a shell. */
  readonly baseReference: string;
  /** A new pack; its name is the test's own. `text` goes on after name and version. */
  writePack(text: string, files?: PackFiles): Promise<TestPack>;
  /** Removes every image of the packs, and the folders. */
  close(): Promise<void>;
}

type PackFiles = Readonly<Record<string, string | Buffer>>;

export interface TestPack {
  readonly name: string;
  readonly directory: string;
  readonly request: ImageRequest;
  write(file: string, content: string | Buffer): Promise<void>;
}

export async function openImageBench(): Promise<ImageBench> {
  const engine = await connectEngine();
  const folder = await mkdtemp(join(tmpdir(), "image-bench-"));
  const host = await readHostSettings(process.env, homedir());
  const events: BuildProgress[] = [];
  const context: ImageContext = {
    engine,
    storeDirectory: join(folder, "store"),
    host,
    settings: defaultImageSettings,
    ownerLabels: async () => ({}),
    onProgress: (event) => events.push(event),
  };
  const { reference } = await ensureBase("3.11", context);
  events.length = 0;
  const names: string[] = [];
  return {
    engine,
    context,
    events,
    baseReference: reference,
    writePack: async (text, files = {}) => {
      const pack = await writePack(folder, text, files);
      names.push(pack.name);
      return pack;
    },
    close: async () => {
      for (const name of names) await removePackImages(engine, name);
      await rm(folder, { recursive: true });
    },
  };
}

async function writePack(folder: string, text: string, files: PackFiles): Promise<TestPack> {
  const name = `image-test-${randomUUID()}`;
  const directory = join(folder, name);
  const write = async (file: string, content: string | Buffer) => {
    await mkdir(dirname(join(directory, file)), { recursive: true });
    await writeFile(join(directory, file), content);
  };
  const manifestText = `name: ${name}\nversion: 1.0.0\n${text}`;
  await write("manifest.yaml", manifestText);
  await write("__init__.py", "NODE_CLASS_MAPPINGS = {}\n");
  for (const [file, content] of Object.entries(files)) await write(file, content);
  const machine = { memoryBytes: 8 * 1024 * MiB, cpus: 2 };
  const manifest = parseManifest(manifestText, join(directory, "manifest.yaml"), { policy: defaultPolicy(), machine });
  return { name, directory, write, request: { manifest, packDirectory: directory, wheelsOnly: true } };
}

async function removePackImages(engine: Engine, name: string): Promise<void> {
  const images = await engine.images.list({ [PACK]: name });
  const isFinal = (labels: Readonly<Record<string, string>>) => labels[KIND] === "runtime";
  const finalFirst = [...images].sort((a, b) => Number(isFinal(b.labels)) - Number(isFinal(a.labels)));
  for (const image of finalFirst) for (const tag of image.tags) await engine.images.remove(tag);
}

/** A hardened container of one command; `changes` replace what a test is about. */
export function testSpec(
  image: string,
  command: readonly string[],
  changes: Partial<ContainerSpec> = {},
): ContainerSpec {
  return {
    image,
    command,
    env: {},
    labels: { [KIND]: "test" },
    workingDir: "/",
    user: "65534:65534",
    network: "none",
    readOnlyRoot: true,
    dropAllCapabilities: true,
    noNewPrivileges: true,
    seccomp: "default",
    ipc: "private",
    init: true,
    limits: {
      memoryBytes: 64 * MiB,
      cpuPercent: 150,
      pids: 32,
      openFiles: 128,
      fileSizeBytes: 8 * MiB,
      shmBytes: 4 * MiB,
      logBytes: MiB,
    },
    mounts: [],
    tmpfs: [],
    ...changes,
  };
}

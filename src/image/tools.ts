// Tools: the images that build steps mount beside the chain: uv, and the wheels of the host's find-links folders.

import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { ensureBase } from "./base.ts";
import { type ContextEntry, textEntries } from "./context.ts";
import { digestOf } from "./digest.ts";
import { wheelhouseDockerfile } from "./dockerfile.ts";
import { hostFiles } from "./host.ts";
import { labelsOf, referenceOf } from "./labels.ts";
import type { BuildPart } from "./progress.ts";
import { ensurePresent } from "./public-image.ts";
import { shareWork } from "./share.ts";
import { type ImageContext, note, reported, runBuild } from "./work.ts";

export interface BuildTools {
  /** Reference of an image with uv at /uv. */
  readonly uv: string;
  /** Reference of an image of wheels; undefined when the host has no find-links folders. */
  readonly wheelhouse: string | undefined;
}

/** Makes what is missing. `part` is whom a fallback is said to. */
export async function ensureTools(context: ImageContext, part: BuildPart): Promise<BuildTools> {
  return { uv: await ensureUv(context), wheelhouse: await ensureWheelhouse(context, part) };
}

async function ensureUv(context: ImageContext): Promise<string> {
  const images = join(context.settings.packageDirectory, "images");
  const [fromWheel, pins] = await Promise.all([
    readFile(join(images, "Dockerfile.uv"), "utf8"),
    readFile(join(images, "uv.txt"), "utf8"),
  ]);
  const recipe = digestOf([context.settings.uvImage, fromWheel, pins]);
  const reference = referenceOf("uv", recipe);
  const common = { reference, labels: labelsOf("uv", recipe) } as const;
  return shareWork(context.engine, reference, context.signal, async () => {
    if ((await context.engine.images.inspect(reference)) !== undefined) return reference;
    await reported(context, "uv", async () => {
      const failure = await ensurePresent(context, "uv", context.settings.uvImage);
      if (failure === undefined) {
        const dockerfile = "ARG PARENT\nFROM $PARENT\n";
        await runBuild(context, "uv", {
          ...common,
          dockerfile,
          entries: [],
          buildArgs: { PARENT: context.settings.uvImage },
          network: "none",
        });
        return;
      }
      note(context, "uv", `${failure}; making it from uv's wheel`);
      const base = await ensureBase("3.11", context);
      await runBuild(context, "uv", {
        ...common,
        dockerfile: fromWheel,
        entries: [
          { type: "text", path: "uv.txt", content: pins },
          ...textEntries("host", hostFiles(context.host, false)),
        ],
        buildArgs: { BASE: base.reference },
        network: "default",
      });
    });
    return reference;
  });
}

interface Wheel {
  readonly name: string;
  readonly source: string;
  readonly sizeBytes: number;
  readonly mtimeMs: number;
}

async function ensureWheelhouse(context: ImageContext, part: BuildPart): Promise<string | undefined> {
  const wheels: Wheel[] = [];
  for (const directory of context.host.findLinkDirectories) {
    const found = await readWheels(directory).catch((error: Error) => {
      note(context, part, `find-links folder ${directory} cannot be read and is left out: ${error.message}`);
      return [];
    });
    wheels.push(...found.filter(({ name }) => !wheels.some((wheel) => wheel.name === name)));
  }
  if (wheels.length === 0) return undefined;
  const digest = digestOf(wheels.map(({ name, sizeBytes, mtimeMs }) => [name, sizeBytes, mtimeMs]));
  const reference = referenceOf("wheelhouse", digest);
  return shareWork(context.engine, reference, context.signal, async () => {
    if ((await context.engine.images.inspect(reference)) !== undefined) return reference;
    await reported(context, "wheelhouse", () =>
      runBuild(context, "wheelhouse", {
        reference,
        labels: labelsOf("wheelhouse", digest),
        dockerfile: wheelhouseDockerfile,
        entries: wheels.map(
          ({ name, source, sizeBytes }): ContextEntry => ({
            type: "file",
            path: `wheels/${name}`,
            source,
            sizeBytes,
            isExecutable: false,
          }),
        ),
        buildArgs: {},
        network: "none",
      }),
    );
    return reference;
  });
}

async function readWheels(directory: string): Promise<Wheel[]> {
  const names = (await readdir(directory)).filter((name) => /\.(whl|tar\.gz|zip)$/.test(name)).sort();
  return Promise.all(
    names.map(async (name) => {
      const source = join(directory, name);
      const { size, mtimeMs } = await stat(source);
      return { name, source, sizeBytes: size, mtimeMs };
    }),
  );
}

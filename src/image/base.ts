// Base: one image per Python version, on which every chain stands: Python, an empty environment in /opt/env, /pack and /data.
// From a public image by default; where that cannot be pulled, made on this machine (rootfs.ts) and said aloud.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ImageInfo } from "../engine/engine.ts";
import type { PythonVersion } from "../manifest/manifest.ts";
import { digestOf } from "./digest.ts";
import { APT, DIGEST, labelsOf, RECIPE, withoutValues } from "./labels.ts";
import { ensurePresent } from "./public-image.ts";
import { makeRootfs, type Rootfs, type RootfsVariant } from "./rootfs.ts";
import { baseImageFor } from "./settings.ts";
import { shareWork } from "./share.ts";
import { type ImageContext, note, orCancelled, reported, runBuild } from "./work.ts";

export interface Base {
  readonly reference: string;
  readonly digest: string;
  readonly state: "cached" | "built";
  /** 0 when it was there. */
  readonly ms: number;
}

export interface BaseNeeds {
  /** Debian packages will be installed on it. A base made here has apt only then. */
  readonly apt?: boolean;
}

/** Inspects the base, makes it when it is missing or out of date. Raises BASE_UNAVAILABLE with what to do, CALL_CANCELLED. */
export function ensureBase(python: PythonVersion, context: ImageContext, needs: BaseNeeds = {}): Promise<Base> {
  return orCancelled(context, `the base for Python ${python}`, () => findOrMakeBase(python, context, needs));
}

async function findOrMakeBase(python: PythonVersion, context: ImageContext, needs: BaseNeeds): Promise<Base> {
  const found = await findBase(python, context, needs);
  if (found !== undefined) return found;
  const recipe = await readRecipe(python, context);
  const reference = referenceOf(python);
  const { images } = context.engine;
  const present = await images.inspect(reference);
  return shareWork(context.engine, `${reference} ${needs.apt}`, context.signal, async () => {
    const isPlainMade = needs.apt === true && present?.labels[RECIPE] === recipe.digest;
    // A second base beside the plain one: packs without system packages keep theirs.
    const own = isPlainMade ? `${reference}-apt` : reference;
    const again = await images.inspect(own);
    if (again !== undefined && fits(again, recipe, needs)) return cached(own, again);
    let digest = "";
    const ms = await reported(context, "base", async () => {
      digest = await makeBase(python, own, recipe, context, needs);
    });
    return { reference: own, digest, state: "built", ms };
  });
}

/** The base that is there already and up to date; makes nothing. */
export async function findBase(
  python: PythonVersion,
  context: ImageContext,
  needs: BaseNeeds = {},
): Promise<Base | undefined> {
  const recipe = await readRecipe(python, context);
  const reference = referenceOf(python);
  for (const candidate of needs.apt === true ? [reference, `${reference}-apt`] : [reference]) {
    const image = await context.engine.images.inspect(candidate);
    if (image !== undefined && fits(image, recipe, needs)) return cached(candidate, image);
  }
  return undefined;
}

function referenceOf(python: PythonVersion): string {
  return `pyisolate/base:${python}`;
}

function fits(image: ImageInfo, recipe: Recipe, needs: BaseNeeds): boolean {
  return image.labels[RECIPE] === recipe.digest && (needs.apt !== true || image.labels[APT] === "yes");
}

function cached(reference: string, image: ImageInfo): Base {
  return { reference, digest: image.labels[DIGEST] ?? "", state: "cached", ms: 0 };
}

interface Recipe {
  readonly dockerfile: string;
  /** Of everything the base is made from, on either way. */
  readonly digest: string;
}

async function readRecipe(python: PythonVersion, context: ImageContext): Promise<Recipe> {
  const folder = context.settings.packageDirectory;
  const files = ["Dockerfile.base", "images/debian.sh", "images/machine-python.py"];
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), "utf8")));
  return { dockerfile: texts[0] ?? "", digest: digestOf([python, baseImageFor(context.settings, python), texts]) };
}

/** Gives the digest of the base it made. */
async function makeBase(
  python: PythonVersion,
  reference: string,
  recipe: Recipe,
  context: ImageContext,
  needs: BaseNeeds,
): Promise<string> {
  const publicImage = baseImageFor(context.settings, python);
  const failure = await ensurePresent(context, "base", publicImage);
  if (failure === undefined) {
    const image = await context.engine.images.inspect(publicImage);
    const digest = digestOf(["base", python, recipe.dockerfile, image?.id ?? publicImage]);
    await buildBase(python, { reference, recipe, digest, apt: "yes" }, { reference: publicImage, labels: {} }, context);
    return digest;
  }
  note(context, "base", `${failure}; making the base for Python ${python} from Debian's packages instead`);
  const variant: RootfsVariant = needs.apt === true ? "apt" : "extract";
  const rootfs = await makeRootfs(python, variant, context);
  try {
    const digest = digestOf(["base", python, recipe.digest, variant, rootfs.origin]);
    const apt = variant === "apt" ? "yes" : "no";
    await buildBase(python, { reference, recipe, digest, apt }, rootfs, context);
    return digest;
  } finally {
    await context.engine.images.remove(rootfs.reference);
  }
}

interface NewBase {
  readonly reference: string;
  readonly recipe: Recipe;
  readonly digest: string;
  readonly apt: "yes" | "no";
}

async function buildBase(
  python: PythonVersion,
  { reference, recipe, digest, apt }: NewBase,
  source: Pick<Rootfs, "reference" | "labels">,
  context: ImageContext,
): Promise<void> {
  await runBuild(context, "base", {
    reference,
    labels: {
      ...withoutValues(source.labels),
      ...labelsOf("base", digest, { [RECIPE]: recipe.digest, [APT]: apt }),
    },
    dockerfile: recipe.dockerfile,
    entries: [],
    buildArgs: { SOURCE: source.reference, PYTHON: python },
    network: "none",
  });
}

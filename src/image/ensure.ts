// Ensure: makes a pack's image exist. Plans the chain and builds the links that are missing; when nothing changed it only
// reads the pack's files and inspects its base and its last link.

import { isPyisolateError, PyisolateError } from "../errors.ts";
import { formatPosition, type Manifest } from "../manifest/manifest.ts";
import { approximateSize, formatSize } from "../manifest/sizes.ts";
import { type Base, type BaseNeeds, ensureBase, findBase } from "./base.ts";
import { below, type ContextEntry, textEntries } from "./context.ts";
import { hostFiles } from "./host.ts";
import { ensureLock, findLock, lockEntries, toolArgs } from "./lock.ts";
import type { Lock } from "./lock-text.ts";
import { type LinkKind, type PlannedLink, planLinks, sortedPackages } from "./plan.ts";
import { Reading } from "./reading.ts";
import { type Requirement, readRequirements } from "./requirements.ts";
import { runtimeDirectory } from "./settings.ts";
import { shareWork } from "./share.ts";
import { readPackSource, readSource, type Source } from "./source.ts";
import { ensureTools } from "./tools.ts";
import { explainUnresolved } from "./unresolved.ts";
import { type ImageContext, note, orCancelled, reported, runBuild } from "./work.ts";

export interface ImageRequest {
  readonly manifest: Manifest;
  readonly packDirectory: string;
  /** Build nothing from source: the rule for packs that are not trusted. */
  readonly wheelsOnly: boolean;
}

export interface EnsuredImage {
  /** Tag of the last link: what a container is made from. */
  readonly reference: string;
  readonly digest: string;
  /** The whole chain, base first. */
  readonly links: readonly EnsuredLink[];
  /** Text of the lock; undefined when the pack has no dependencies. */
  readonly lock: string | undefined;
}

interface EnsuredLink {
  readonly kind: LinkKind;
  readonly reference: string;
  readonly digest: string;
  readonly state: "cached" | "built";
  /** 0 for a cached link. */
  readonly ms: number;
}

/** What the links above the base are made from. */
interface Ingredients {
  readonly manifest: Manifest;
  readonly wheelsOnly: boolean;
  readonly base: Base;
  readonly requirements: readonly Requirement[];
  readonly lock: Lock | undefined;
  readonly source: Source;
  readonly runtime: Source;
}

/**
 * Raises SOURCE_INVALID, BASE_UNAVAILABLE, DEPENDENCY_UNRESOLVED, IMAGE_BUILD_FAILED, IMAGE_TOO_LARGE, CALL_CANCELLED and the
 * engine's errors. After any of them there is no half-made tag; links that were finished stay for the next time.
 */
export function ensureImage(request: ImageRequest, context: ImageContext): Promise<EnsuredImage> {
  return orCancelled(context, `the image of pack "${request.manifest.name}"`, () => makeImage(request, context));
}

async function makeImage(request: ImageRequest, context: ImageContext): Promise<EnsuredImage> {
  const { lockRequest, ...files } = await readFiles(request, context);
  const base = await ensureBase(request.manifest.python, context, baseNeeds(request));
  const lock = lockRequest === undefined ? undefined : await ensureLock(context, request, lockRequest, base);
  const requirements = lockRequest?.requirements.entries ?? [];
  const ingredients = { ...request, ...files, requirements, base, lock };
  const plan = planOf(ingredients);
  const links = await ensureLinks(plan, ingredients, context);
  const last = plan.at(-1) as PlannedLink;
  await requireSize(last, request.manifest, context);
  return {
    reference: last.reference,
    digest: last.digest,
    links: [{ kind: "base", reference: base.reference, digest: base.digest, state: base.state, ms: base.ms }, ...links],
    lock: lock?.text,
  };
}

/** An image above its pack's limit stays: raising the limit then costs nothing. */
async function requireSize(link: PlannedLink, manifest: Manifest, context: ImageContext): Promise<void> {
  const image = await context.engine.images.inspect(link.reference);
  if (image === undefined || image.sizeBytes <= manifest.maxImageBytes) return;
  const at = manifest.stated.get("max_image");
  const where = at === undefined ? manifest.file : formatPosition(manifest.file, at);
  const limit = formatSize(manifest.maxImageBytes);
  throw new PyisolateError(
    "IMAGE_TOO_LARGE",
    `${where}: the image of pack "${manifest.name}" is ${approximateSize(image.sizeBytes)} unpacked, expected at most max_image, ${limit}`,
    {
      sizeBytes: image.sizeBytes,
      limitBytes: manifest.maxImageBytes,
      next: "Ask for fewer dependencies, or raise `max_image`.",
    },
  );
}

export interface FoundImage {
  readonly reference: string;
  readonly digest: string;
  /** false: ensureImage would build it. */
  readonly isPresent: boolean;
}

/**
 * The image that ensureImage would give, without building or resolving anything; undefined as long as its base or its lock
 * does not exist. Raises SOURCE_INVALID, DEPENDENCY_UNRESOLVED for a lock that does not fit, the engine's errors, and the
 * signal's reason.
 */
export async function findImage(request: ImageRequest, context: ImageContext): Promise<FoundImage | undefined> {
  const { lockRequest, ...files } = await readFiles(request, context);
  const base = await findBase(request.manifest.python, context, baseNeeds(request));
  const lock = lockRequest === undefined ? undefined : await findLock(context, request, lockRequest);
  if (base === undefined || (lock === undefined && lockRequest !== undefined)) return undefined;
  const last = planOf({ ...request, ...files, base, lock }).at(-1) as PlannedLink;
  return { reference: last.reference, digest: last.digest, isPresent: await exists(last, context) };
}

async function readFiles({ manifest, packDirectory, wheelsOnly }: ImageRequest, context: ImageContext) {
  const reading = new Reading({
    folder: packDirectory,
    signal: context.signal,
    onNote: (text) => note(context, "source", text),
    now: () => performance.now(),
  });
  const [requirements, source, runtime] = await Promise.all([
    readRequirements(manifest, packDirectory, context.settings.torchRequirement, reading),
    readPackSource(packDirectory, reading),
    readSource(runtimeDirectory(context.settings)),
  ]);
  const { architecture } = context.host;
  const lockRequest =
    requirements.entries.length === 0 ? undefined : { python: manifest.python, architecture, wheelsOnly, requirements };
  return { source, runtime, lockRequest };
}

function baseNeeds({ manifest }: ImageRequest): BaseNeeds {
  return { apt: manifest.systemPackages.length > 0 };
}

function planOf(ingredients: Omit<Ingredients, "requirements">): readonly PlannedLink[] {
  const { source, runtime, ...rest } = ingredients;
  return planLinks({ ...rest, sourceDigest: source.digest, runtimeDigest: runtime.digest });
}

/** Builds what lies above the highest link that exists. */
async function ensureLinks(
  plan: readonly PlannedLink[],
  ingredients: Ingredients,
  context: ImageContext,
): Promise<EnsuredLink[]> {
  let present = plan.length;
  while (present > 0 && !(await exists(plan[present - 1] as PlannedLink, context))) present--;
  const links: EnsuredLink[] = [];
  for (const [index, link] of plan.entries()) {
    const { kind, reference, digest } = link;
    const outcome = index < present ? cached(link, context) : await ensureLink(link, ingredients, context);
    links.push({ kind, reference, digest, ...outcome });
  }
  return links;
}

type LinkOutcome = Pick<EnsuredLink, "state" | "ms">;

function ensureLink(link: PlannedLink, ingredients: Ingredients, context: ImageContext): Promise<LinkOutcome> {
  return shareWork(context.engine, link.reference, context.signal, async () => {
    if (await exists(link, context)) return cached(link, context);
    const ms = await reported(context, link.kind, () => buildLink(link, ingredients, context));
    return { state: "built", ms };
  });
}

function cached(link: PlannedLink, context: ImageContext): LinkOutcome {
  context.onProgress?.({ type: "cached", link: link.kind });
  return { state: "cached", ms: 0 };
}

async function exists(link: PlannedLink, context: ImageContext): Promise<boolean> {
  return (await context.engine.images.inspect(link.reference)) !== undefined;
}

async function buildLink(link: PlannedLink, ingredients: Ingredients, context: ImageContext): Promise<void> {
  const { reference, labels, dockerfile, network } = link;
  const { entries, buildArgs } = await contentOf(link, ingredients, context);
  const logLines: string[] = [];
  try {
    await runBuild(context, link.kind, {
      reference,
      labels,
      dockerfile,
      network,
      entries,
      buildArgs: { PARENT: link.parent, ...buildArgs },
      onLog: (line) => logLines.push(line),
    });
  } catch (error) {
    if (link.kind !== "dependencies" || !isPyisolateError(error, "IMAGE_BUILD_FAILED")) throw error;
    throw explainUnresolved(error, ingredients.manifest, ingredients.requirements, logLines) ?? error;
  }
}

interface LinkContent {
  readonly entries: readonly ContextEntry[];
  readonly buildArgs?: Readonly<Record<string, string>>;
}

/** What a link's Dockerfile finds in its context. */
async function contentOf(link: PlannedLink, ingredients: Ingredients, context: ImageContext): Promise<LinkContent> {
  const { manifest, base, lock, source, runtime } = ingredients;
  switch (link.kind) {
    case "system": {
      const names = sortedPackages(manifest.systemPackages).map((name) => `${name}\n`);
      return { entries: [{ type: "text", path: "packages.txt", content: names.join("") }] };
    }
    case "dependencies": {
      const tools = await ensureTools(context, "dependencies");
      const host = textEntries("host", hostFiles(context.host, tools.wheelhouse !== undefined));
      const files = { "lock.txt": `${lock?.body ?? ""}\n` };
      return {
        entries: [...lockEntries(files, lock?.wheels ?? []), ...host],
        buildArgs: toolArgs({ reference: link.parent }, tools),
      };
    }
    case "source":
      // The folder itself too: a pack may have nothing but its manifest.
      return { entries: [{ type: "folder", path: "pack" }, ...below("pack", source.entries)] };
    case "runtime":
      return { entries: below("runtime/pyisolate", runtime.entries), buildArgs: { BASE: base.reference } };
  }
}

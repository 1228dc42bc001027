// Prune: removes images of ours that nothing needs any more. Kept are, for every pack, its newest final image and the links
// below it, whatever a container uses, and the newest base, uv and wheelhouse; `all` keeps only what containers use.
// What a build makes for itself is left alone while that build may be going on; what killed ones left behind always goes.

import type { Engine, ImageInfo } from "../engine/engine.ts";
import { KIND, PACK, PARENT, temporaryState } from "./labels.ts";

export interface PruneOptions {
  /** Also the current images of every pack, the bases and the tools. */
  readonly all?: boolean;
  /** Remove nothing, only say what would be. */
  readonly dryRun?: boolean;
  /** Default: now. */
  readonly nowMs?: number;
}

export interface PrunedImages {
  /** Ids of containers that builds left behind. */
  readonly containers: readonly string[];
  readonly removed: readonly PrunedImage[];
}

export interface PrunedImage {
  readonly reference: string;
  readonly kind: string;
  /** Of source and runtime links. */
  readonly pack: string | undefined;
  /** What the image adds to the one it stands on. The engine frees it when its build cache lets go of it too. */
  readonly bytes: number;
}

interface OwnImage {
  /** A tag; the id of an image that lost its tag to a newer one. */
  readonly reference: string;
  readonly kind: string;
  readonly info: ImageInfo;
}

export async function pruneImages(engine: Engine, options: PruneOptions = {}): Promise<PrunedImages> {
  const [infos, containers] = await Promise.all([engine.images.list({ [KIND]: "" }), engine.containers.list({})]);
  const images = infos.flatMap((info) =>
    (info.tags.length > 0 ? info.tags : [info.id]).map(
      (reference): OwnImage => ({ reference, kind: info.labels[KIND] ?? "", info }),
    ),
  );
  const { nowMs = Date.now() } = options;
  const leftBehind = containers.filter(({ labels }) => temporaryState(labels, nowMs) === "left behind");
  const inUse = new Set(containers.filter((one) => !leftBehind.includes(one)).map(({ imageId }) => imageId));
  const wanted = images.filter(({ info }) => inUse.has(info.id) || temporaryState(info.labels, nowMs) === "in use");
  if (options.all !== true) wanted.push(...newestOfEach(images));
  const kept = withParents(wanted, images);
  const sizes = new Map(images.map(({ reference, info }) => [reference, info.sizeBytes]));
  if (options.dryRun !== true) for (const { id } of leftBehind) await engine.containers.remove(id);
  const removed: PrunedImage[] = [];
  for (const image of highestFirst(images)) {
    if (kept.has(image.reference)) continue;
    if (options.dryRun !== true && !(await engine.images.remove(image.reference))) continue;
    removed.push(describe(image, sizes));
  }
  return { containers: leftBehind.map(({ id }) => id), removed };
}

/** The newest final image of each pack, each base (by its tag), and the newest of each tool. */
function newestOfEach(images: readonly OwnImage[]): OwnImage[] {
  const newest = new Map<string, OwnImage>();
  for (const image of images) {
    const group = groupOf(image);
    if (group === undefined) continue;
    const known = newest.get(group);
    if (known === undefined || known.info.createdMs < image.info.createdMs) newest.set(group, image);
  }
  return [...newest.values()];
}

/** undefined: kept only when a kept image stands on it. */
function groupOf({ kind, reference, info }: OwnImage): string | undefined {
  if (reference === info.id) return undefined;
  switch (kind) {
    case "runtime":
      return `pack ${info.labels[PACK]}`;
    case "base":
      return `base ${reference}`;
    case "uv":
    case "wheelhouse":
      return kind;
    default:
      return undefined;
  }
}

function withParents(wanted: readonly OwnImage[], images: readonly OwnImage[]): Set<string> {
  const byReference = new Map(images.map((image) => [image.reference, image]));
  const kept = new Set<string>();
  for (const image of wanted) {
    for (let at: OwnImage | undefined = image; at !== undefined; at = byReference.get(at.info.labels[PARENT] ?? "")) {
      kept.add(at.reference);
    }
  }
  return kept;
}

const order = ["runtime", "source", "dependencies", "system"];

/** Final images before what they stand on. */
function highestFirst(images: readonly OwnImage[]): OwnImage[] {
  const rank = ({ kind }: OwnImage) => (order.includes(kind) ? order.indexOf(kind) : order.length);
  return [...images].sort((a, b) => rank(a) - rank(b));
}

function describe({ reference, kind, info }: OwnImage, sizes: ReadonlyMap<string, number>): PrunedImage {
  const parentBytes = sizes.get(info.labels[PARENT] ?? "") ?? 0;
  return { reference, kind, pack: info.labels[PACK], bytes: Math.max(0, info.sizeBytes - parentBytes) };
}

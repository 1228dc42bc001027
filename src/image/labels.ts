// Labels and tags of the images we make: the one place where their names are written.

import type { Labels } from "../engine/engine.ts";

export const KIND = "pyisolate.kind";
export const DIGEST = "pyisolate.digest";
/** Reference of the image a link stands on. */
export const PARENT = "pyisolate.parent";
/** Name of the pack; on source and runtime links only. */
export const PACK = "pyisolate.pack";
/** Digest of everything a base or tool image is made from: it is made again when this differs. */
export const RECIPE = "pyisolate.recipe";
/** "yes" when system packages can be installed on a base. */
export const APT = "pyisolate.apt";

/** Milliseconds since 1970; on what a build removes itself when it ends. */
const MADE = "pyisolate.made";

/** A build that still needs its temporary things after this long has died. */
const temporaryMs = 3_600_000;

export type ImageKind =
  | "base"
  | "rootfs"
  | "uv"
  | "wheelhouse"
  | "lock"
  | "system"
  | "dependencies"
  | "source"
  | "runtime";

const tagCharacters = 32;

/** The tag of an image whose content `digest` decides. */
export function referenceOf(kind: ImageKind, digest: string): string {
  return `pyisolate/${kind}:${digest.slice(0, tagCharacters)}`;
}

export function labelsOf(kind: ImageKind, digest: string, more: Labels = {}): Labels {
  return { [KIND]: kind, [DIGEST]: digest, ...more };
}

/** Labels of an image or a container that the build which made it removes again. `owner`: what tells whose build that is. */
export function temporaryLabels(kind: "lock" | "rootfs", digest: string, nowMs: number, owner: Labels): Labels {
  return labelsOf(kind, digest, { [MADE]: String(nowMs), ...owner });
}

/** Takes the values out of labels that an image would inherit from a temporary one it is built on. */
export function withoutValues(labels: Labels): Labels {
  return Object.fromEntries(Object.keys(labels).map((name) => [name, ""]));
}

/** Whether this is a temporary thing of a build, and whether that build may still be going on. */
export function temporaryState(labels: Labels, nowMs: number): "none" | "in use" | "left behind" {
  if (labels[KIND] !== "lock" && labels[KIND] !== "rootfs") return "none";
  return nowMs - Number(labels[MADE] ?? 0) < temporaryMs ? "in use" : "left behind";
}

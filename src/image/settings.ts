// Settings of the image chain that a user may change, and where this package's own files lie.

import { join } from "node:path";
import type { PythonVersion } from "../manifest/manifest.ts";

export interface ImageSettings {
  /** Public image with Python in it; {python} stands for the version. Where it cannot be pulled a base is made here. */
  readonly baseImage: string;
  /** Image with uv at /uv. Where it cannot be pulled one is made from uv's wheel (images/uv.txt: the same version). */
  readonly uvImage: string;
  /** Requirement added for `share_torch: true` when a pack declares no torch of its own. */
  readonly torchRequirement: string;
  /** Folder of this package: Dockerfile.base, images/ and runtime-python/ lie in it. */
  readonly packageDirectory: string;
}

export const defaultImageSettings: ImageSettings = {
  baseImage: "docker.io/library/python:{python}-slim-bookworm",
  uvImage: "ghcr.io/astral-sh/uv:0.13.9",
  torchRequirement: "torch",
  // Two levels up from here, both in src/image and in dist/image.
  packageDirectory: join(import.meta.dirname, "../.."),
};

export function baseImageFor(settings: ImageSettings, python: PythonVersion): string {
  return settings.baseImage.replaceAll("{python}", python);
}

/** The pack runtime as it is copied to /opt/pyisolate/pyisolate. */
export function runtimeDirectory(settings: ImageSettings): string {
  return join(settings.packageDirectory, "runtime-python/src/pyisolate");
}

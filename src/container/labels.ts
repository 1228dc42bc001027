// Labels: how the things we make in the engine are found again. Must not know how they are made.

import { dirname } from "node:path";
import type { Labels } from "../engine/engine.ts";

const kindLabel = "pyisolate.kind";
const packLabel = "pyisolate.pack";
/** Path of the owner's directory: it names the run root too, so that nobody sweeps another user's containers. */
const ownerLabel = "pyisolate.owner";

/** Labels that every pack's container has. */
export const anyPackLabels: Labels = { [kindLabel]: "pack" };

export function packLabels(pack: string, ownerDirectory: string): Labels {
  return { ...anyPackLabels, [packLabel]: pack, [ownerLabel]: ownerDirectory };
}

export function dataLabels(pack: string): Labels {
  return { [kindLabel]: "data", [packLabel]: pack };
}

/** The directory of the program that owns a container, if that program is one of `runRoot`. */
export function ownerDirectoryIn(runRoot: string, labels: Labels): string | undefined {
  const owner = labels[ownerLabel];
  return owner !== undefined && dirname(owner) === runRoot ? owner : undefined;
}

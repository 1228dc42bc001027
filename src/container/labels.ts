// Labels: how the things we make in the engine are found again. Must not know how they are made.

import { dirname } from "node:path";
import type { Labels } from "../engine/engine.ts";

const kindLabel = "pyisolate.kind";
const packLabel = "pyisolate.pack";
/** Path of the owner's directory: it names the run root too, so that nobody sweeps another user's containers. */
const ownerLabel = "pyisolate.owner";

/** What a program owns, of any kind: as a filter. */
export const anyOwnerLabels: Labels = { [ownerLabel]: "" };

export function packLabels(pack: string, ownerDirectory: string): Labels {
  return { [kindLabel]: "pack", [packLabel]: pack, ...ownerLabels(ownerDirectory) };
}

/** Of what goes when its program is dead, whatever it is. */
export function ownerLabels(ownerDirectory: string): Labels {
  return { [ownerLabel]: ownerDirectory };
}

/** What `labels` say a thing is. */
export function kindOf(labels: Labels): { readonly kind: string; readonly pack: string | undefined } {
  return { kind: labels[kindLabel] ?? "", pack: labels[packLabel] };
}

export function dataLabels(pack: string): Labels {
  return { [kindLabel]: "data", [packLabel]: pack };
}

/** The directory of the program that owns a container or an image, if that program is one of `runRoot`. */
export function ownerDirectoryIn(runRoot: string, labels: Labels): string | undefined {
  const owner = labels[ownerLabel];
  return owner !== undefined && dirname(owner) === runRoot ? owner : undefined;
}

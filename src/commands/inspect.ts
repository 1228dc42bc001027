// `pyisolate inspect`: what a pack asks for and gets, its image, its nodes. Builds and starts nothing.

import { ExtensionManager } from "../extension/manager.ts";
import type { NodeSchema } from "../extension/schema.ts";
import { manifestMapping } from "../manifest/mapping.ts";
import type { CommandContext } from "./context.ts";

export interface InspectResult {
  readonly name: string;
  readonly version: string;
  readonly file: string;
  /** Every key of the manifest with its default filled in, under its name in the file. */
  readonly manifest: Readonly<Record<string, unknown>>;
  readonly image: {
    /** undefined as long as its base was never made or its dependencies were never resolved. */
    readonly reference: string | undefined;
    /** false: the next run builds it. */
    readonly present: boolean;
  };
  /** What the pack's own Python reported when this image was last loaded; null: it never was. */
  readonly python: string | null;
  readonly packages: Readonly<Record<string, string>> | null;
  readonly nodes: readonly NodeSchema[] | null;
}

export async function inspect(directory: string, context: CommandContext): Promise<InspectResult> {
  await using manager = new ExtensionManager(context);
  const { manifest, image, schemas } = await manager.findPack(directory, context);
  return {
    name: manifest.name,
    version: manifest.version,
    file: manifest.file,
    manifest: manifestMapping(manifest),
    image: { reference: image?.reference, present: image?.isPresent ?? false },
    python: schemas?.python ?? null,
    packages: schemas?.packages ?? null,
    nodes: schemas === undefined ? null : [...schemas.schemas.values()],
  };
}

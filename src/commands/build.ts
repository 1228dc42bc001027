// `pyisolate build`: the images of one pack.

import { ExtensionManager } from "../extension/manager.ts";
import type { EnsuredImage } from "../image/ensure.ts";
import type { CommandContext } from "./context.ts";

export interface BuildResult {
  readonly name: string;
  /** Tag of the pack's last image. */
  readonly image: string;
  readonly links: EnsuredImage["links"];
}

export async function build(directory: string, context: CommandContext): Promise<BuildResult> {
  await using manager = new ExtensionManager(context);
  const { manifest, image } = await manager.ensureImage(directory, context);
  return { name: manifest.name, image: image.reference, links: image.links };
}

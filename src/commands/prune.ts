// `pyisolate prune`: what dead programs left, and images no pack uses any more.

import { ExtensionManager, type Pruned } from "../extension/manager.ts";
import type { CommandContext } from "./context.ts";

export interface PruneRequest {
  /** Also the current images of every pack, as far as no container uses them. */
  readonly all?: boolean;
  /** Say what would be removed, and remove nothing. */
  readonly dryRun?: boolean;
}

export async function prune(request: PruneRequest, context: CommandContext): Promise<Pruned> {
  await using manager = new ExtensionManager(context);
  return await manager.prune(request);
}

// Packs the figures run.

import { join } from "node:path";

export const noopPack = join(import.meta.dirname, "packs/noop");
export const cartoonPack = join(import.meta.dirname, "../../examples/cartoon");

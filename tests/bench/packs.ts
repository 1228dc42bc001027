// Packs the figures run.

import { join } from "node:path";

export const noopPack = join(import.meta.dirname, "packs/noop");
export const cartoonPack = join(import.meta.dirname, "../../examples/cartoon");
export const picturePack = join(import.meta.dirname, "packs/picture");

/** The three packs of D7: the same nodes with packages that cannot be installed together. */
export const chainPacks = {
  "numpy 1.26": { module_path: picturePack, name: "bench_picture_1", dependencies: ["numpy==1.26.4"] },
  "numpy 2": { module_path: picturePack, name: "bench_picture_2", dependencies: ["numpy>=2"] },
  torch: { module_path: picturePack, name: "bench_picture_3", dependencies: ["numpy>=2"], share_torch: true },
} as const;

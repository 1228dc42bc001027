// Garbage: asks the engine to look for garbage now. Tensors that nobody refers to hold shared memory until it does.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Gives a function that collects at once; takes a few milliseconds, more in a large program. */
export function garbageCollector(): () => void {
  let collect: (() => void) | undefined;
  return () => {
    if (collect === undefined) {
      setFlagsFromString("--expose-gc");
      collect = runInNewContext("gc") as () => void;
    }
    collect();
  };
}

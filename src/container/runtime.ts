// Runtime: whether the engine has the container runtime that a manifest asks for. Pure.

import type { EngineInfo } from "../engine/engine.ts";
import { PyisolateError } from "../errors.ts";
import { formatPosition, type Manifest } from "../manifest/manifest.ts";

/** Raises ISOLATION_UNAVAILABLE, naming the runtimes that are there: an engine would say so only once an image is built. */
export function requireRuntime({ file, stated, runtime }: Manifest, { runtimes }: Pick<EngineInfo, "runtimes">): void {
  if (runtime === undefined || runtimes.includes(runtime)) return;
  const at = stated.get("runtime");
  const where = at === undefined ? "the policy's default" : formatPosition(file, at);
  throw new PyisolateError(
    "ISOLATION_UNAVAILABLE",
    `${where}: runtime: asks for ${runtime}, and the engine's runtimes are ${runtimes.join(", ") || "unknown"}`,
    {
      key: "runtime",
      runtimes,
      next: `Install ${runtime} and name it under "runtimes" in /etc/docker/daemon.json, or ask for another runtime.`,
    },
  );
}

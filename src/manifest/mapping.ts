// Mapping: a resolved Manifest as the keys of manifest.yaml again, defaults filled in. For programs and people that ask what a pack has.

import type { Manifest, ManifestKey } from "./manifest.ts";

/** Sizes in bytes, timeout in seconds or "none", dependencies as written; undefined where a key has nothing. */
export function manifestMapping(manifest: Manifest): Readonly<Record<ManifestKey, unknown>> {
  return {
    name: manifest.name,
    version: manifest.version,
    python: manifest.python,
    dependencies: manifest.dependencies.map(({ requirement }) => requirement),
    system_packages: manifest.systemPackages,
    isolated: manifest.isolated,
    share_torch: manifest.shareTorch,
    gpu: manifest.gpu,
    max_memory: manifest.maxMemoryBytes,
    max_cpu_percent: manifest.maxCpuPercent,
    max_pids: manifest.maxPids,
    max_shm: manifest.maxShmBytes,
    max_tmp: manifest.maxTmpBytes,
    data: manifest.dataBytes,
    max_image: manifest.maxImageBytes,
    timeout: manifest.timeoutMs === undefined ? "none" : manifest.timeoutMs / 1000,
    network: manifest.network,
    mounts: manifest.mounts,
    env: manifest.env,
    runtime: manifest.runtime,
    indexes: manifest.indexes,
    find_links: manifest.findLinks,
    services: manifest.services,
    routes: manifest.routes,
    web: manifest.web,
  };
}

// A manifest for tests of the container layer, small limits, everything else at its default.

import type { Manifest } from "../../src/manifest/manifest.ts";

const MiB = 1024 * 1024;

export function testManifest(changes: Partial<Manifest> = {}): Manifest {
  return {
    file: "pack/manifest.yaml",
    stated: new Map([["mounts", { line: 7, column: 1 }]]),
    level: "untrusted",
    sourceBuilds: false,
    name: "test_pack",
    version: "1.0.0",
    python: "3.11",
    dependencies: [],
    systemPackages: [],
    isolated: true,
    shareTorch: false,
    gpu: false,
    maxMemoryBytes: 128 * MiB,
    maxCpuPercent: 150,
    maxPids: 64,
    maxShmBytes: 64 * MiB,
    maxTmpBytes: 32 * MiB,
    dataBytes: undefined,
    maxImageBytes: 1024 * MiB,
    timeoutMs: 30_000,
    network: "none",
    mounts: [],
    env: {},
    runtime: undefined,
    indexes: [],
    findLinks: [],
    services: [],
    routes: [],
    web: [],
    ...changes,
  };
}

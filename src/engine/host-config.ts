// HostConfig: a ContainerSpec in the engine's words. The one place where our names meet Docker's flags.

import type { ContainerCreateOptions, HostConfig } from "dockerode";
import type { ContainerLimits, ContainerSpec } from "./engine.ts";

/** Microseconds. As a quota, more CPU than the machine has may be asked for; NanoCpus refuses that. */
const cpuPeriodUs = 100_000;

export function toCreateOptions(spec: ContainerSpec): ContainerCreateOptions {
  const [program = "", ...args] = spec.command;
  return {
    ...(spec.name === undefined ? {} : { name: spec.name }),
    Image: spec.image,
    Entrypoint: [program],
    Cmd: args,
    Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`),
    Labels: { ...spec.labels },
    WorkingDir: spec.workingDir,
    User: spec.user,
    HostConfig: toHostConfig(spec),
  };
}

function toHostConfig(spec: ContainerSpec): HostConfig {
  return {
    NetworkMode: spec.network,
    ...(spec.runtime === undefined ? {} : { Runtime: spec.runtime }),
    IpcMode: spec.ipc,
    ReadonlyRootfs: spec.readOnlyRoot,
    CapDrop: spec.dropAllCapabilities ? ["ALL"] : [],
    SecurityOpt: [
      ...(spec.noNewPrivileges ? ["no-new-privileges"] : []),
      ...(spec.seccomp === "default" ? [] : [`seccomp=${spec.seccomp}`]),
    ],
    Init: spec.init,
    ...toLimits(spec.limits),
    Mounts: spec.mounts.map(({ type, source, target, write }) => ({
      Type: type,
      Source: source,
      Target: target,
      ReadOnly: !write,
    })),
    Tmpfs: Object.fromEntries(
      spec.tmpfs.map(({ target, sizeBytes, mode, exec }) => [
        target,
        `${exec ? "exec" : "noexec"},nosuid,nodev,size=${sizeBytes},mode=${mode}`,
      ]),
    ),
  };
}

function toLimits(limits: ContainerLimits): HostConfig {
  return {
    Memory: limits.memoryBytes,
    MemorySwap: limits.memoryBytes,
    CpuPeriod: cpuPeriodUs,
    CpuQuota: Math.round((limits.cpuPercent / 100) * cpuPeriodUs),
    PidsLimit: limits.pids,
    Ulimits: [
      { Name: "nofile", Soft: limits.openFiles, Hard: limits.openFiles },
      { Name: "fsize", Soft: limits.fileSizeBytes, Hard: limits.fileSizeBytes },
    ],
    ShmSize: limits.shmBytes,
    LogConfig: { Type: "json-file", Config: { "max-size": String(limits.logBytes), "max-file": "1" } },
  };
}

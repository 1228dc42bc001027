// Readers: values that a schema accepted → values of the program, and the rules that a schema cannot say.

import { hostProblem } from "./hosts.ts";
import type { Dependency, Mount, NetworkRequest } from "./manifest.ts";
import type { Problems, Source } from "./problems.ts";
import { readRequirement } from "./requirement.ts";
import { reservedTarget } from "./reserved.ts";
import { type MemoryShare, parseSize } from "./sizes.ts";
import { describe, pointerTo, quote } from "./text.ts";
import { isPackVersion } from "./versions.ts";

/** Where a value stands, and where its problems go. */
export interface Reading {
  readonly source: Source;
  readonly pointer: string;
  readonly problems: Problems;
}

function refuse({ source, pointer, problems }: Reading, message: string, ...inner: (string | number)[]): void {
  problems.addAt(source, inner.reduce(pointerTo, pointer), message);
}

export function readVersion(raw: unknown, reading: Reading): string {
  const version = String(raw);
  if (!isPackVersion(version)) {
    refuse(reading, `impossible version ${quote(version)}, expected one such as 1.0.0, 2.1rc1 or 1.4.0-beta.2`);
  }
  return version;
}

export function readDependencies(raw: unknown, reading: Reading): readonly Dependency[] {
  return (raw as string[]).map((requirement, index) => {
    const at = reading.source.position(pointerTo(reading.pointer, index));
    const shape = readRequirement(requirement);
    if (!("problem" in shape)) return { requirement: requirement.trim(), ...shape, at };
    refuse(reading, shape.problem, index);
    return { requirement, kind: "index", needsBuild: false, at };
  });
}

const LARGEST_SIZE = "1024TB";

/** Bytes, or a share of the machine where the schema let a percentage in. */
export function readSize(raw: unknown, reading: Reading, smallest: string): number | MemoryShare {
  const size = raw as string | number;
  if (typeof size === "string" && size.endsWith("%")) return { percent: Number(size.slice(0, -1)) };
  const bytes = parseSize(size);
  if (bytes < parseSize(smallest)) refuse(reading, `expected at least ${smallest}, got ${describe(size)}`);
  if (bytes > parseSize(LARGEST_SIZE)) refuse(reading, `expected at most ${LARGEST_SIZE}, got ${describe(size)}`);
  return bytes;
}

/** Seconds, or "none" → milliseconds, or Infinity. */
export function readTimeoutMs(raw: unknown): number {
  return raw === "none" ? Number.POSITIVE_INFINITY : Math.max(1, Math.round((raw as number) * 1000));
}

export function readHosts(raw: unknown, reading: Reading): NetworkRequest {
  if (!Array.isArray(raw)) return raw as "none" | "full";
  return (raw as string[]).map((host, index) => {
    const problem = hostProblem(host);
    if (problem !== undefined) refuse(reading, `${problem}, got ${quote(host)}`, index);
    return host.toLowerCase();
  });
}

/** Mounts of a manifest, or folders that a policy lets be mounted, whose target is "". */
export function readMounts(raw: unknown, reading: Reading): readonly Mount[] {
  return (raw as { source: string; target?: string; write?: boolean }[]).map((mount, index) => {
    for (const key of ["source", "target"] as const) {
      const path = mount[key];
      if (path?.split("/").some((part) => part === ".." || part === ".")) {
        refuse(reading, `expected a path without "." and "..", got ${quote(path)}`, index, key);
      }
    }
    const target = tidy(mount.target ?? "");
    const reserved = target === "" ? undefined : reservedTarget(target);
    if (reserved !== undefined) {
      const message = `${quote(target)} collides with ${reserved}, which belongs to the container itself; expected another place, such as /mnt/models`;
      refuse(reading, message, index, "target");
    }
    return { source: tidy(mount.source), target, write: mount.write ?? false };
  });
}

function tidy(path: string): string {
  return path.replace(/\/{2,}/g, "/").replace(/(.)\/$/, "$1");
}

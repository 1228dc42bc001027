// Limits: what the kernel enforces on a container, read from its cgroup (versions 1 and 2, also mixed), never from
// the pack or the engine. Must not know how limits are asked for.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PyisolateError } from "../errors.ts";

/** Limits in force. Infinity: unlimited. */
export interface KernelLimits {
  readonly memoryBytes: number;
  /** Memory and swap together; undefined: the kernel does not count swap. */
  readonly memoryAndSwapBytes: number | undefined;
  /** Percent of one core. */
  readonly cpuPercent: number;
  readonly pids: number;
}

export type AskedLimits = Pick<KernelLimits, "memoryBytes" | "cpuPercent" | "pids">;

/** Gives a file's text, undefined when there is no such file. */
export type ReadText = (path: string) => string | undefined;

/** Page sizes Linux has on the machines we run on: limits are rounded down to one of them. */
const pageSizesBytes = [4096, 16384, 65536];

/**
 * The limits of the container whose process 1 is `pid` on this machine.
 * Raises ENGINE_UNSUPPORTED when that process is not the container's: the engine runs on another kernel.
 */
export function readKernelLimits(
  container: { readonly id: string; readonly pid: number },
  read: ReadText = readText,
): KernelLimits {
  const membership = read(`/proc/${container.pid}/cgroup`) ?? "";
  if (!membership.includes(container.id)) {
    throw new PyisolateError(
      "ENGINE_UNSUPPORTED",
      `process ${container.pid} of this machine is not in container ${container.id.slice(0, 12)}: the engine has other process ids`,
      { next: "Run pyisolate on the machine of the Docker Engine, outside containers." },
    );
  }
  const mounts = parseMounts(read("/proc/self/mountinfo") ?? "");
  const groups = parseMembership(membership);
  const open = (controller: string) => openController(controller, groups, mounts, read);
  return { ...readMemory(open("memory")), cpuPercent: readCpu(open("cpu")), pids: readPids(open("pids")) };
}

/** Raises LIMIT_NOT_ENFORCED, naming the first limit of a pack that the kernel does not hold. */
export function requireLimits(pack: string, asked: AskedLimits, found: KernelLimits, read: ReadText = readText): void {
  if (!isSameMemory(asked.memoryBytes, found.memoryBytes))
    throw differs(pack, "max_memory", asked.memoryBytes, found.memoryBytes);
  if (!isSwapHeld(asked.memoryBytes, found.memoryAndSwapBytes, read)) {
    throw differs(
      pack,
      "max_memory with swap",
      asked.memoryBytes,
      found.memoryAndSwapBytes ?? Number.POSITIVE_INFINITY,
    );
  }
  if (toThousandths(asked.cpuPercent) !== found.cpuPercent) {
    throw differs(pack, "max_cpu_percent", asked.cpuPercent, found.cpuPercent);
  }
  if (asked.pids !== found.pids) throw differs(pack, "max_pids", asked.pids, found.pids);
}

function isSameMemory(asked: number, found: number): boolean {
  return found === asked || pageSizesBytes.some((page) => Math.floor(asked / page) * page === found);
}

/** A kernel that does not count swap holds the limit only where there is no swap. */
function isSwapHeld(memoryBytes: number, memoryAndSwapBytes: number | undefined, read: ReadText): boolean {
  if (memoryAndSwapBytes !== undefined) return isSameMemory(memoryBytes, memoryAndSwapBytes);
  return (read("/proc/swaps") ?? "").trim().split("\n").length <= 1;
}

function differs(pack: string, limit: string, asked: number, found: number): PyisolateError {
  const got = Number.isFinite(found) ? String(found) : "no limit";
  return new PyisolateError(
    "LIMIT_NOT_ENFORCED",
    `${limit} of pack "${pack}": asked for ${asked}, the kernel enforces ${got}`,
    {
      next: "See `docker info`: the engine's cgroup driver and its warnings about memory, swap, cpu and pids limits.",
    },
  );
}

/** Reads one file of a controller's directory; `version` says which names to expect. */
interface Controller {
  readonly version: 1 | 2;
  readonly file: (name: string) => string | undefined;
}

function readMemory({ version, file }: Controller): Pick<KernelLimits, "memoryBytes" | "memoryAndSwapBytes"> {
  if (version === 1) {
    const both = file("memory.memsw.limit_in_bytes");
    return {
      memoryBytes: parseBytes(file("memory.limit_in_bytes")),
      memoryAndSwapBytes: both === undefined ? undefined : parseBytes(both),
    };
  }
  const memoryBytes = parseBytes(file("memory.max"));
  const swap = file("memory.swap.max");
  return { memoryBytes, memoryAndSwapBytes: swap === undefined ? undefined : memoryBytes + parseBytes(swap) };
}

function readCpu({ version, file }: Controller): number {
  if (version === 1) return parseQuota(`${file("cpu.cfs_quota_us") ?? "-1"} ${file("cpu.cfs_period_us") ?? "100000"}`);
  return parseQuota(file("cpu.max") ?? "max 100000");
}

function readPids({ file }: Controller): number {
  return parseBytes(file("pids.max"));
}

/** "max", nothing, and version 1's 2^63 rounded down to a page mean unlimited. */
function parseBytes(text: string | undefined): number {
  const number = Number(text ?? Number.NaN);
  return Number.isSafeInteger(number) ? number : Number.POSITIVE_INFINITY;
}

/** "quota period" in microseconds → percent of one core. */
function parseQuota(text: string): number {
  const [quota = "", period = ""] = text.trim().split(/\s+/);
  return quota === "max" || Number(quota) < 0
    ? Number.POSITIVE_INFINITY
    : toThousandths((Number(quota) / Number(period)) * 100);
}

/** The engine's quota is a whole number of microseconds in 100 ms: a thousandth of a percent. */
function toThousandths(percent: number): number {
  return Math.round(percent * 1000) / 1000;
}

/** Controller → path of its group. Version 2's is under "". */
function parseMembership(text: string): Map<string, string> {
  const groups = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    for (const controller of controllers.split(",")) groups.set(controller, path);
  }
  return groups;
}

interface CgroupMount {
  /** Which group of the hierarchy is mounted: "/" unless this program is in a cgroup namespace or container. */
  readonly root: string;
  readonly at: string;
}

/** Controller → where its hierarchy is mounted. Version 2's is under "". Source: proc(5), mountinfo. */
function parseMounts(text: string): Map<string, CgroupMount> {
  const mounts = new Map<string, CgroupMount>();
  for (const line of text.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root = "", at = ""] = before.split(" ");
    const [type, , options = ""] = after.split(" ");
    if (type === "cgroup2") mounts.set("", { root, at });
    if (type === "cgroup") for (const option of options.split(",")) mounts.set(option, { root, at });
  }
  return mounts;
}

function openController(
  name: string,
  groups: ReadonlyMap<string, string>,
  mounts: ReadonlyMap<string, CgroupMount>,
  read: ReadText,
): Controller {
  const version = groups.has(name) && mounts.has(name) ? 1 : 2;
  const key = version === 1 ? name : "";
  const group = groups.get(key);
  const mount = mounts.get(key);
  if (group === undefined || mount === undefined) {
    throw new PyisolateError(
      "ISOLATION_UNAVAILABLE",
      `no cgroup file system with the ${name} controller is mounted here`,
      {
        next: "Mount /sys/fs/cgroup, or run pyisolate outside containers.",
      },
    );
  }
  const below = mount.root !== "/" && group.startsWith(mount.root) ? group.slice(mount.root.length) : group;
  return { version, file: (file) => read(join(mount.at, below, file))?.trim() };
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH" || code === "ENODEV") return undefined;
    throw error;
  }
}

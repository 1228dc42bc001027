// Samples are what the kernel of the named set-up shows, shortened to the lines that count.

import { describe, expect, test } from "vitest";
import { type KernelLimits, type ReadText, readKernelLimits, requireLimits } from "../../src/container/limits.ts";

const id = "4f2c9be1d0a7".padEnd(64, "0");
const MiB = 1024 * 1024;

function files(content: Record<string, string>): ReadText {
  return (path) => content[path];
}

function limitsOf(content: Record<string, string>): KernelLimits {
  return readKernelLimits({ id, pid: 42 }, files(content));
}

describe("version 1, cgroupfs driver", () => {
  const group = `/docker/${id}`;
  const sample = {
    "/proc/42/cgroup": `9:name=systemd:${group}\n8:pids:${group}\n4:memory:${group}\n2:cpu,cpuacct:${group}\n0::${group}\n`,
    "/proc/self/mountinfo": [
      "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
      "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct",
      "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids",
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
    ].join("\n"),
    [`/sys/fs/cgroup/memory${group}/memory.limit_in_bytes`]: "134217728\n",
    [`/sys/fs/cgroup/memory${group}/memory.memsw.limit_in_bytes`]: "134217728\n",
    [`/sys/fs/cgroup/cpu,cpuacct${group}/cpu.cfs_quota_us`]: "150000\n",
    [`/sys/fs/cgroup/cpu,cpuacct${group}/cpu.cfs_period_us`]: "100000\n",
    [`/sys/fs/cgroup/pids${group}/pids.max`]: "64\n",
  };

  test("limits are read", () => {
    expect(limitsOf(sample)).toEqual({
      memoryBytes: 128 * MiB,
      memoryAndSwapBytes: 128 * MiB,
      cpuPercent: 150,
      pids: 64,
    });
  });

  test("no limit reads as Infinity", () => {
    const unlimited = {
      ...sample,
      [`/sys/fs/cgroup/memory${group}/memory.limit_in_bytes`]: "9223372036854771712\n",
      [`/sys/fs/cgroup/cpu,cpuacct${group}/cpu.cfs_quota_us`]: "-1\n",
      [`/sys/fs/cgroup/pids${group}/pids.max`]: "max\n",
    };
    expect(limitsOf(unlimited)).toMatchObject({
      memoryBytes: Number.POSITIVE_INFINITY,
      cpuPercent: Number.POSITIVE_INFINITY,
      pids: Number.POSITIVE_INFINITY,
    });
  });
});

describe("version 2, systemd driver", () => {
  const group = `/system.slice/docker-${id}.scope`;
  const directory = `/sys/fs/cgroup${group}`;
  const sample = {
    "/proc/42/cgroup": `0::${group}\n`,
    "/proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
    [`${directory}/memory.max`]: "134217728\n",
    [`${directory}/memory.swap.max`]: "0\n",
    [`${directory}/cpu.max`]: "33300 100000\n",
    [`${directory}/pids.max`]: "64\n",
  };

  test("limits are read", () => {
    expect(limitsOf(sample)).toEqual({
      memoryBytes: 128 * MiB,
      memoryAndSwapBytes: 128 * MiB,
      cpuPercent: 33.3,
      pids: 64,
    });
  });

  test("swap comes on top of memory", () => {
    const swapping = { ...sample, [`${directory}/memory.swap.max`]: "1048576\n" };
    expect(limitsOf(swapping).memoryAndSwapBytes).toBe(129 * MiB);
  });

  test("no limit reads as Infinity, a missing swap controller as undefined", () => {
    const unlimited: Record<string, string> = {
      ...sample,
      [`${directory}/memory.max`]: "max\n",
      [`${directory}/cpu.max`]: "max 100000\n",
    };
    delete unlimited[`${directory}/memory.swap.max`];
    expect(limitsOf(unlimited)).toMatchObject({
      memoryBytes: Number.POSITIVE_INFINITY,
      memoryAndSwapBytes: undefined,
      cpuPercent: Number.POSITIVE_INFINITY,
    });
  });

  test("a hierarchy mounted from a group of its own is read below the mount", () => {
    const nested = {
      "/proc/42/cgroup": `0::/user.slice${group}\n`,
      "/proc/self/mountinfo": "30 23 0:26 /user.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    };
    expect(limitsOf({ ...sample, ...nested }).pids).toBe(64);
  });

  test("a process that is not the container's is an engine on another kernel", () => {
    expect(() => limitsOf({ ...sample, "/proc/42/cgroup": "0::/user.slice/shell.scope\n" })).toThrow(
      expect.objectContaining({ code: "ENGINE_UNSUPPORTED" }),
    );
  });
});

describe("what was asked against what is enforced", () => {
  const asked = { memoryBytes: 100_000_000, cpuPercent: 150, pids: 64 };
  const inForce: KernelLimits = { ...asked, memoryBytes: 99_999_744, memoryAndSwapBytes: 99_999_744 };
  const noSwap = files({ "/proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n" });
  const swap = files({ "/proc/swaps": "Filename\tType\tSize\tUsed\tPriority\n/swap file 8388604 0 -2\n" });
  const check = (changes: Partial<KernelLimits>, read = noSwap) =>
    requireLimits("test_pack", asked, { ...inForce, ...changes }, read);

  test("memory is equal after rounding down to a page", () => {
    expect(() => check({})).not.toThrow();
  });

  test.each([
    ["max_memory", { memoryBytes: 99_995_648 }],
    ["max_memory", { memoryBytes: Number.POSITIVE_INFINITY }],
    ["max_memory with swap", { memoryAndSwapBytes: 199_999_488 }],
    ["max_cpu_percent", { cpuPercent: 200 }],
    ["max_pids", { pids: Number.POSITIVE_INFINITY }],
  ])("%s that differs is named", (name, changes) => {
    expect(() => check(changes)).toThrow(
      expect.objectContaining({
        code: "LIMIT_NOT_ENFORCED",
        message: expect.stringContaining(`${name} of pack "test_pack"`),
      }),
    );
  });

  test("a kernel that does not count swap will do only where there is none", () => {
    expect(() => check({ memoryAndSwapBytes: undefined })).not.toThrow();
    expect(() => check({ memoryAndSwapBytes: undefined }, swap)).toThrow(/no limit/);
  });
});

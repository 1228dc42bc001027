// Each wall of the sandbox, tried from inside a pack; and, as positive control, the same attempt with that wall taken down.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readlinkSync, rmSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ContainerSpec } from "../../src/engine/engine.ts";
import type { Manifest } from "../../src/manifest/manifest.ts";
import { type Bench, openBench, runCode } from "./container-support.ts";

let bench: Bench;
beforeAll(async () => {
  bench = await openBench();
});
afterEach(async () => expect(await bench.leftovers()).toEqual([]));
afterAll(() => bench.close());

async function attempt(code: string, changes: Partial<Manifest> = {}, alter = (spec: ContainerSpec) => spec) {
  await using container = await bench.start(changes, { alter });
  return await runCode(container.connection, code);
}

interface Wall {
  readonly name: string;
  readonly code: string;
  readonly refused: unknown;
  readonly down: Partial<ContainerSpec>;
  readonly allowed: unknown;
}

const callFromC = (call: string) => `
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
result = "allowed" if libc.${call} != -1 else f"errno {ctypes.get_errno()}"
`;
const statusField = (field: string) => `
result = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("${field}:"))
`;
const tryWriting = (path: string) => `
try:
    open("${path}", "w").write("x")
    result = "allowed"
except OSError as error:
    result = f"errno {error.errno}"
`;

/** The call itself, as C's clone() makes it; without a new stack the child goes on here, as after fork. */
const cloneWith = (flag: "CLONE_NEWUSER" | "no flag") => `
import ctypes, os, platform
number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)
pid = libc.syscall(number, ${flag === "CLONE_NEWUSER" ? "0x10000000 | 17" : "17"}, 0, 0, 0, 0)
if pid == 0:
    os._exit(0)
result = f"errno {ctypes.get_errno()}"
if pid > 0:
    os.waitpid(pid, 0)
    result = "allowed"
`;

const walls: readonly Wall[] = [
  {
    name: "read-only root",
    code: tryWriting("/opt/env/planted"),
    refused: "errno 30",
    down: { readOnlyRoot: false, user: "0:0" },
    allowed: "allowed",
  },
  {
    name: "capabilities: none, not even for root",
    code: statusField("CapBnd"),
    refused: "0000000000000000",
    down: { dropAllCapabilities: false },
    allowed: expect.not.stringMatching(/^0+$/),
  },
  {
    name: "no new privileges",
    code: statusField("NoNewPrivs"),
    refused: "1",
    down: { noNewPrivileges: false },
    allowed: "0",
  },
  {
    name: "no network",
    code: `result = open("/proc/net/dev").read().count(":")`,
    refused: 1,
    down: { network: "bridge" },
    allowed: 2,
  },
  {
    name: "own uid",
    code: "import os; result = os.getuid() >= 0x70000000",
    refused: true,
    down: { user: "0:0" },
    allowed: false,
  },
  {
    name: "seccomp: System V shared memory",
    code: callFromC("shmget(0, 4096, 0o1600)"),
    refused: "errno 1",
    down: { seccomp: '{"defaultAction":"SCMP_ACT_ALLOW"}' },
    allowed: "allowed",
  },
  {
    name: "seccomp: ptrace",
    code: callFromC("ptrace(0, 0, 0, 0)"),
    refused: "errno 1",
    down: { seccomp: '{"defaultAction":"SCMP_ACT_ALLOW"}' },
    allowed: "allowed",
  },
  {
    name: "seccomp: a namespace of its own by clone's flags",
    code: cloneWith("CLONE_NEWUSER"),
    refused: "errno 1",
    down: { seccomp: '{"defaultAction":"SCMP_ACT_ALLOW"}' },
    allowed: "allowed",
  },
  {
    name: "seccomp: a namespace of its own by unshare",
    code: callFromC("unshare(0x10000000)"),
    refused: "errno 1",
    down: { seccomp: '{"defaultAction":"SCMP_ACT_ALLOW"}' },
    allowed: "allowed",
  },
  {
    name: "seccomp: netlink sockets",
    code: callFromC("socket(16, 3, 0)"),
    refused: "errno 1",
    down: { seccomp: '{"defaultAction":"SCMP_ACT_ALLOW"}' },
    allowed: "allowed",
  },
];

describe.each(walls)("$name", ({ code, refused, down, allowed }) => {
  test("holds", async () => expect(await attempt(code)).toEqual(refused));
  test("would not, without that flag", async () => {
    expect(await attempt(code, {}, (spec) => ({ ...spec, ...down }))).toEqual(allowed);
  });
});

test("seccomp is in filter mode and effective capabilities are empty", async () => {
  expect(await attempt(statusField("Seccomp"))).toBe("2");
  expect(await attempt(statusField("CapEff"))).toBe("0000000000000000");
});

test("clone without a namespace's flag goes through: it is the flag that is refused", async () => {
  expect(await attempt(cloneWith("no flag"))).toBe("allowed");
});

describe("namespaces", () => {
  const link = (name: string) => `/proc/self/ns/${name}`;
  const names = ["pid", "ipc", "mnt", "net", "uts"];
  const code = `import os; result = [os.readlink(f"/proc/self/ns/{name}") for name in ${JSON.stringify(names)}]`;

  test("a pack's are neither this machine's nor another pack's; a child of ours has ours", async () => {
    const ours = names.map((name) => readlinkSync(link(name)));
    const child = execFileSync("readlink", names.map(link), { encoding: "utf8" }).trim().split("\n");
    const first = (await attempt(code)) as string[];
    await using container = await bench.start();
    const second = (await runCode(container.connection, code)) as string[];
    await using third = await bench.start();
    const other = (await runCode(third.connection, code)) as string[];
    expect(child).toEqual(ours);
    for (const index of names.keys()) {
      expect(first[index]).not.toBe(ours[index]);
      expect(other[index]).not.toBe(second[index]);
    }
  });
});

describe("the process is alone", () => {
  const pids = (proc: string) => `
import os
result = sorted(int(name) for name in os.listdir("${proc}") if name.isdigit())
`;
  const withHosts = (source: string, target: string) => (spec: ContainerSpec) => ({
    ...spec,
    mounts: [...spec.mounts, { type: "bind" as const, source, target, write: false }],
  });

  test("in its PID namespace, under an init; this machine's /proc would show more", async () => {
    const seen = (await attempt(pids("/proc"))) as number[];
    expect(seen.length).toBeLessThanOrEqual(2);
    expect(seen[0]).toBe(1);
    const all = (await attempt(pids("/mnt/proc"), {}, withHosts("/proc", "/mnt/proc"))) as number[];
    expect(all).toContain(process.pid);
  });

  test("in its /dev/shm; this machine's would show what others share", async () => {
    const scratch = mkdtempSync("/dev/shm/pyisolate-test-");
    const code = `import os; result = os.path.exists("${scratch}")`;
    try {
      expect(await attempt(code)).toBe(false);
      expect(await attempt(code, {}, withHosts("/dev/shm", "/dev/shm"))).toBe(true);
    } finally {
      rmSync(scratch, { recursive: true });
    }
  });
});

test("the run directory can be read, not written", async () => {
  expect(await attempt(tryWriting("/run/pyisolate/planted"))).toBe("errno 30");
});

test("/tmp takes files and programs, up to max_tmp", async () => {
  const fill = `
import os, subprocess
open("/tmp/tool", "w").write("#!/bin/sh\\necho ran\\n")
os.chmod("/tmp/tool", 0o755)
ran = subprocess.run(["/tmp/tool"], capture_output=True, text=True).stdout
try:
    open("/tmp/big", "wb").write(bytes(40 << 20))
    result = [ran, "allowed"]
except OSError as error:
    result = [ran, error.errno]
`;
  expect(await attempt(fill)).toEqual(["ran\n", 28]);
});

test("data survives the container, as HOME, and the pack can write there", async () => {
  const data = { name: "test_data_pack", dataBytes: 16 * 1024 * 1024 };
  const volume = "pyisolate-data-test_data_pack";
  try {
    await attempt(
      `import os; open(os.path.expanduser("~/kept"), "w").write("kept"); result = os.environ["PYISOLATE_DATA"]`,
      data,
    );
    expect(await attempt(`result = open("/data/kept").read()`, data)).toBe("kept");
    expect(await bench.engine.volumes.list({ "pyisolate.pack": "test_data_pack" })).toEqual([volume]);
  } finally {
    await bench.engine.volumes.remove(volume);
  }
});

describe("what packs do must work", () => {
  test("threads, subprocess, asyncio", async () => {
    const code = `
import asyncio, subprocess, sys, threading
seen = []
threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
echo = subprocess.run([sys.executable, "-c", "print(40 + 2)"], capture_output=True, text=True).stdout
async def ask():
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", "echo async", stdout=-1)
    return (await process.communicate())[0].decode()
result = [sorted(seen), echo, asyncio.run(ask())]
`;
    expect(await attempt(code)).toEqual([[0, 1, 2, 3, 4, 5, 6, 7], "42\n", "async\n"]);
  });

  test.each(["fork", "spawn", "forkserver"])(
    "multiprocessing by %s, with a pool, a queue and shared memory",
    async (method) => {
      const code = `
import subprocess, sys
program = '''
import multiprocessing as mp
from multiprocessing import shared_memory
def square(n): return n * n
if __name__ == "__main__":
    context = mp.get_context("${method}")
    queue = context.Queue(); queue.put(1); queue.get()
    memory = shared_memory.SharedMemory(create=True, size=4096); memory.close(); memory.unlink()
    with context.Pool(2) as pool: print(pool.map(square, [1, 2, 3]))
'''
open("/tmp/program.py", "w").write(program)
done = subprocess.run([sys.executable, "/tmp/program.py"], capture_output=True, text=True)
result = done.stdout + done.stderr
`;
      expect(await attempt(code)).toBe("[1, 4, 9]\n");
    },
  );
});

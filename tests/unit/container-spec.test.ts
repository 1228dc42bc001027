import { describe, expect, test } from "vitest";
import { packContainerSpec } from "../../src/container/spec.ts";
import type { Manifest } from "../../src/manifest/manifest.ts";
import { testManifest } from "./container-manifest.ts";

const MiB = 1024 * 1024;

function specOf(changes: Partial<Manifest> = {}) {
  return packContainerSpec({
    image: "pyisolate/runtime:abc",
    manifest: testManifest(changes),
    ownerDirectory: "/run/pyisolate/0a1b2c3d",
    packDirectory: "/run/pyisolate/0a1b2c3d/1",
    packId: "0a1b2c3d-1",
    caller: { uid: 1000, gid: 1001 },
    seccomp: "{}",
  });
}

describe("the whole sandbox, for every pack", () => {
  const spec = specOf();

  test("no capabilities, no new privileges, read-only root, no network, our seccomp profile, an init", () => {
    expect(spec).toMatchObject({
      dropAllCapabilities: true,
      noNewPrivileges: true,
      readOnlyRoot: true,
      network: "none",
      seccomp: "{}",
      init: true,
    });
  });

  test("limits are the manifest's; /tmp and /dev/shm have max_tmp; files no larger than what the pack may hold", () => {
    expect(spec.limits).toMatchObject({ memoryBytes: 128 * MiB, cpuPercent: 150, pids: 64, shmBytes: 32 * MiB });
    expect(spec.limits.fileSizeBytes).toBe(128 * MiB);
    expect(specOf({ dataBytes: 512 * MiB }).limits.fileSizeBytes).toBe(512 * MiB);
    expect(spec.tmpfs).toEqual([{ target: "/tmp", sizeBytes: 32 * MiB, mode: "1777", exec: true }]);
  });

  test("the run directory is mounted read-only and nothing else", () => {
    expect(spec.mounts).toEqual([
      { type: "bind", source: "/run/pyisolate/0a1b2c3d/1", target: "/run/pyisolate", write: false },
    ]);
  });

  test("labels name kind, pack and the owner's directory", () => {
    expect(spec.labels).toEqual({
      "pyisolate.kind": "pack",
      "pyisolate.pack": "test_pack",
      "pyisolate.owner": "/run/pyisolate/0a1b2c3d",
    });
  });
});

describe("user", () => {
  test("each pack has a uid of its own, the same at every start, in an unused range", () => {
    expect(specOf().user).toBe(specOf().user);
    expect(specOf().user).not.toBe(specOf({ name: "other_pack" }).user);
    for (const name of ["a", "b", "x".repeat(100)]) {
      const [uid, gid] = specOf({ name }).user.split(":").map(Number);
      expect(uid).toBeGreaterThanOrEqual(0x70000000);
      expect(uid).toBeLessThan(0x7ffe0000);
      expect(gid).toBe(uid);
    }
  });

  test("a writable host mount is used as the caller, a read-only one is not", () => {
    const mount = { source: "/srv/models", target: "/mnt/models" };
    expect(specOf({ mounts: [{ ...mount, write: true }] }).user).toBe("1000:1001");
    expect(specOf({ mounts: [{ ...mount, write: false }] }).user).toBe(specOf().user);
  });
});

describe("environment", () => {
  test("thread counts are the CPU quota rounded up, and the manifest may set others", () => {
    expect(specOf({ maxCpuPercent: 250 }).env).toMatchObject({ OMP_NUM_THREADS: "3", MKL_NUM_THREADS: "3" });
    expect(specOf({ maxCpuPercent: 50 }).env.OPENBLAS_NUM_THREADS).toBe("1");
    expect(specOf({ env: { OMP_NUM_THREADS: "7" } }).env.OMP_NUM_THREADS).toBe("7");
  });

  test("HOME is /tmp, with data it is /data and the volume is mounted there", () => {
    expect(specOf().env.HOME).toBe("/tmp");
    expect(specOf().env.PYISOLATE_DATA).toBeUndefined();
    const spec = specOf({ dataBytes: MiB });
    expect(spec.env).toMatchObject({ HOME: "/data", PYISOLATE_DATA: "/data", USER: "pack", LOGNAME: "pack" });
    expect(spec.mounts).toContainEqual({
      type: "volume",
      source: "pyisolate-data-test_pack",
      target: "/data",
      write: true,
    });
  });
});

test("only network: full opens the network", () => {
  expect(specOf({ network: "full" }).network).toBe("bridge");
  for (const network of ["none", ["api.example.com"], []] as const) expect(specOf({ network }).network).toBe("none");
});

test("mounts are passed on as the manifest has them", () => {
  const mount = { source: "/srv/x", target: "/mnt/x", write: false };
  expect(specOf({ mounts: [mount] }).mounts).toContainEqual({ type: "bind", ...mount });
});

// What decides that a link of the image chain is built again, and what does not.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Lock, parseLock, writeLockText } from "../../src/image/lock-text.ts";
import { type PlanInput, type PlannedLink, planLinks } from "../../src/image/plan.ts";
import { readPackSource } from "../../src/image/source.ts";
import type { Manifest } from "../../src/manifest/manifest.ts";
import { testManifest } from "./container-manifest.ts";

const base = { reference: "pyisolate/base:3.11", digest: "b".repeat(64) };

function plan(changes: Partial<PlanInput> = {}): readonly PlannedLink[] {
  return planLinks({
    manifest: testManifest({ systemPackages: ["libgl1"] }),
    base,
    lock: lockOf("numpy==1.26.4 --hash=sha256:00"),
    wheelsOnly: true,
    sourceDigest: "source-1",
    runtimeDigest: "runtime-1",
    ...changes,
  });
}

function lockOf(body: string): Lock {
  return { text: `# comment\n${body}`, body, wheels: [] };
}

function changedKinds(before: readonly PlannedLink[], after: readonly PlannedLink[]): string[] {
  const known = new Set(before.map(({ digest }) => digest));
  return after.filter(({ digest }) => !known.has(digest)).map(({ kind }) => kind);
}

describe("the chain", () => {
  test("stands in order, each link on the one before, the first on the base", () => {
    const links = plan();
    expect(links.map(({ kind }) => kind)).toEqual(["system", "dependencies", "source", "runtime"]);
    expect(links.map(({ parent }) => parent)).toEqual([
      base.reference,
      ...links.slice(0, -1).map(({ reference }) => reference),
    ]);
  });

  test("leaves out links with nothing in them", () => {
    const links = plan({ manifest: testManifest(), lock: undefined });
    expect(links.map(({ kind }) => kind)).toEqual(["source", "runtime"]);
  });

  test("has no network from the source on", () => {
    expect(plan().map(({ network }) => network)).toEqual(["default", "default", "none", "none"]);
  });

  test("labels only what decides a link", () => {
    expect(plan().map(({ labels }) => Object.keys(labels).sort())).toEqual([
      ["pyisolate.digest", "pyisolate.kind", "pyisolate.parent"],
      ["pyisolate.digest", "pyisolate.kind", "pyisolate.parent"],
      ["pyisolate.digest", "pyisolate.kind", "pyisolate.pack", "pyisolate.parent"],
      ["pyisolate.digest", "pyisolate.kind", "pyisolate.pack", "pyisolate.parent"],
    ]);
  });
});

describe("digests", () => {
  test("do not change with limits, timeout, network, mounts or environment", () => {
    const changes: Partial<Manifest> = {
      version: "2.0.0",
      maxMemoryBytes: 1,
      maxCpuPercent: 1,
      maxPids: 1,
      timeoutMs: undefined,
      network: "full",
      env: { A: "1" },
      mounts: [{ source: "/a", target: "/a", write: true }],
      indexes: ["https://index.example/simple"],
    };
    const manifest = testManifest({ systemPackages: ["libgl1"], ...changes });
    expect(changedKinds(plan(), plan({ manifest }))).toEqual([]);
  });

  test("do not change with the order of system packages", () => {
    const one = plan({ manifest: testManifest({ systemPackages: ["a", "b"] }) });
    const other = plan({ manifest: testManifest({ systemPackages: ["b", "a", "b"] }) });
    expect(changedKinds(one, other)).toEqual([]);
  });

  test.each<[string, Partial<PlanInput>, string[]]>([
    ["the source", { sourceDigest: "source-2" }, ["source", "runtime"]],
    ["the runtime", { runtimeDigest: "runtime-2" }, ["runtime"]],
    ["the lock", { lock: lockOf("numpy==2.0.0 --hash=sha256:00") }, ["dependencies", "source", "runtime"]],
    ["wheels only", { wheelsOnly: false }, ["dependencies", "source", "runtime"]],
    [
      "a system package",
      { manifest: testManifest({ systemPackages: ["ffmpeg"] }) },
      ["system", "dependencies", "source", "runtime"],
    ],
    ["the base", { base: { ...base, digest: "c".repeat(64) } }, ["system", "dependencies", "source", "runtime"]],
    [
      "the pack's name",
      { manifest: testManifest({ systemPackages: ["libgl1"], name: "other" }) },
      ["source", "runtime"],
    ],
  ])("change upwards from %s", (_what, changes, expected) => {
    expect(changedKinds(plan(), plan(changes))).toEqual(expected);
  });

  test("do not change with the comments of a lock", () => {
    const requirements = { entries: [{ line: "numpy", at: undefined }], wheels: [] };
    const request = { python: "3.11", architecture: "x64", wheelsOnly: true, requirements } as const;
    const text = writeLockText(request, `numpy==1.26.4 \\\n    --hash=sha256:${"0".repeat(64)}`);
    const lock = parseLock(text, request, "a lock");
    const commented = parseLock(`${text}# reviewed\n`, request, "a lock");
    expect(lock?.body).toContain("numpy==1.26.4");
    expect(changedKinds(plan({ lock }), plan({ lock: commented }))).toEqual([]);
  });
});

describe("the digest of a pack's folder", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "image-plan-"));
    await writeFile(join(folder, "nodes.py"), "A = 1\n");
    await writeFile(join(folder, "manifest.yaml"), "name: a\n");
  });
  afterAll(() => rm(folder, { recursive: true }));

  test("changes with a file's content", async () => {
    const before = await readPackSource(folder);
    await writeFile(join(folder, "nodes.py"), "A = 2\n");
    expect((await readPackSource(folder)).digest).not.toBe(before.digest);
  });

  test("does not change with the manifest, or with the time of a file", async () => {
    const before = await readPackSource(folder);
    await writeFile(join(folder, "manifest.yaml"), "name: a\ntimeout: 5\n");
    await writeFile(join(folder, "nodes.py"), "A = 2\n");
    expect((await readPackSource(folder)).digest).toBe(before.digest);
  });
});

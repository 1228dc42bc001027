// Which images are pruned. The engine is a fake here: a real prune would take other tests' images.

import { describe, expect, test } from "vitest";
import type { Engine, ImageInfo } from "../../src/engine/engine.ts";
import { type ImageKind, labelsOf, PACK, PARENT, temporaryLabels } from "../../src/image/labels.ts";
import { pruneImages } from "../../src/image/prune.ts";

const MiB = 1024 ** 2;

function image(
  kind: ImageKind,
  tag: string,
  createdMs: number,
  sizeMiB: number,
  parent?: string,
  pack?: string,
): ImageInfo {
  const more = { ...(parent && { [PARENT]: parent }), ...(pack && { [PACK]: pack }) };
  const reference = `pyisolate/${kind}:${tag}`;
  return {
    id: `sha256:${reference}`,
    tags: [reference],
    labels: labelsOf(kind, tag, more),
    sizeBytes: sizeMiB * MiB,
    createdMs,
  };
}

/** Two packs: `a` was built twice, on another set of dependencies each time. */
const images = [
  image("base", "3.11", 1, 60),
  image("dependencies", "old", 2, 100, "pyisolate/base:3.11"),
  image("dependencies", "new", 3, 110, "pyisolate/base:3.11"),
  image("source", "a1", 4, 101, "pyisolate/dependencies:old", "a"),
  image("runtime", "a1", 5, 102, "pyisolate/source:a1", "a"),
  image("source", "a2", 6, 111, "pyisolate/dependencies:new", "a"),
  image("runtime", "a2", 7, 112, "pyisolate/source:a2", "a"),
  image("source", "b1", 8, 61, "pyisolate/base:3.11", "b"),
  image("runtime", "b1", 9, 62, "pyisolate/source:b1", "b"),
  image("wheelhouse", "old", 1, 10),
  image("wheelhouse", "new", 2, 20),
  image("uv", "one", 1, 30),
  image("lock", "left", 1, 1),
  { ...image("base", "untagged", 9, 5), tags: [] },
];

function engineWith(usedImage?: string) {
  const removed: string[] = [];
  const containers =
    usedImage === undefined ? [] : [{ id: "c", imageId: `sha256:${usedImage}`, labels: {}, running: true }];
  const engine = {
    images: {
      list: async () => images,
      remove: async (reference: string) => removed.push(reference) > 0,
    },
    containers: { list: async () => containers },
  } as unknown as Engine;
  return { engine, removed };
}

test("superseded images go, final ones first; what the newest stand on stays", async () => {
  const { engine, removed } = engineWith();
  const pruned = await pruneImages(engine);
  expect(removed).toEqual([
    "pyisolate/runtime:a1",
    "pyisolate/source:a1",
    "pyisolate/dependencies:old",
    "pyisolate/wheelhouse:old",
    "pyisolate/lock:left",
    "sha256:pyisolate/base:untagged",
  ]);
  expect(pruned.removed.map(({ bytes }) => bytes / MiB)).toEqual([1, 1, 40, 10, 1, 5]);
  expect(pruned.removed[0]).toEqual({ reference: "pyisolate/runtime:a1", kind: "runtime", pack: "a", bytes: MiB });
});

test("what a container uses stays, with all it stands on", async () => {
  const { engine, removed } = engineWith("pyisolate/runtime:a1");
  await pruneImages(engine);
  expect(removed).toEqual(["pyisolate/wheelhouse:old", "pyisolate/lock:left", "sha256:pyisolate/base:untagged"]);
});

test("a dry run says the same and removes nothing", async () => {
  const { engine, removed } = engineWith();
  const pruned = await pruneImages(engine, { dryRun: true });
  expect(pruned.removed).toHaveLength(6);
  expect(removed).toEqual([]);
});

test("all: everything but what a container uses", async () => {
  const { engine, removed } = engineWith("pyisolate/runtime:b1");
  await pruneImages(engine, { all: true });
  expect(removed).toHaveLength(images.length - 3);
  expect(removed).not.toContain("pyisolate/base:3.11");
});

describe("what a build made for itself", () => {
  const hourMs = 3_600_000;
  const madeMs = 5_000 * hourMs;
  const labels = temporaryLabels("lock", "d", madeMs, {});
  const temporary = { ...image("lock", "mine", 1, 1), labels };
  const container = { id: "reader", imageId: temporary.id, labels, running: false };

  function engineWithTemporary(containers = [container]) {
    const removed: string[] = [];
    const remove = async (what: string) => removed.push(what) > 0;
    const engine = {
      images: { list: async () => [temporary], remove },
      containers: { list: async () => containers, remove },
    } as unknown as Engine;
    return { engine, removed };
  }

  test.each([
    ["read out", [container]],
    ["made", []],
  ])("stays while it may be being %s, even for all", async (_what, containers) => {
    const { engine, removed } = engineWithTemporary(containers);
    await pruneImages(engine, { all: true, nowMs: madeMs + hourMs - 1 });
    expect(removed).toEqual([]);
  });

  test("goes later, the container first", async () => {
    const { engine, removed } = engineWithTemporary();
    const pruned = await pruneImages(engine, { nowMs: madeMs + hourMs });
    expect(removed).toEqual(["reader", "pyisolate/lock:mine"]);
    expect(pruned.containers).toEqual(["reader"]);
    expect(pruned.removed).toHaveLength(1);
  });

  test("is only named by a dry run", async () => {
    const { engine, removed } = engineWithTemporary();
    const pruned = await pruneImages(engine, { dryRun: true, nowMs: madeMs + hourMs });
    expect(pruned.containers).toEqual(["reader"]);
    expect(pruned.removed).toHaveLength(1);
    expect(removed).toEqual([]);
  });
});

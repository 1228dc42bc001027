// What prune says it removed: also what killed builds left, once, whether it removes or only looks.

import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ownerLabels } from "../../src/container/labels.ts";
import type { ContainerSummary, Engine, ImageInfo } from "../../src/engine/engine.ts";
import { temporaryLabels } from "../../src/image/labels.ts";
import { ExtensionManager } from "../../src/index.ts";

const hourMs = 3_600_000;
let folder: string;
let owner: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "pi-prune-"));
  owner = join(folder, "pyisolate/dead");
  await mkdir(join(folder, "pyisolate"), { mode: 0o700 });
  await mkdir(owner);
  await writeFile(join(owner, "owner.sock"), ""); // refuses connections, as a dead program's socket does
});
afterEach(() => rm(folder, { recursive: true }));

/** An engine with one lock image and one container of it, both made `ageMs` ago. */
function engineWithLeftovers(ageMs: number) {
  const labels = temporaryLabels("lock", "d", Date.now() - ageMs, ownerLabels(owner));
  const image = { id: "sha256:i", tags: ["pyisolate/lock:left"], labels, sizeBytes: 5, createdMs: 1 };
  let images: ImageInfo[] = [image];
  let containers: ContainerSummary[] = [{ id: "reader", imageId: image.id, labels, running: false }];
  const removed: string[] = [];
  const engine = {
    images: {
      list: async () => images,
      remove: async (reference: string) => {
        removed.push(reference);
        images = [];
        return true;
      },
    },
    containers: {
      list: async () => containers,
      remove: async (id: string) => {
        removed.push(id);
        containers = [];
      },
    },
  } as unknown as Engine;
  return { engine, removed };
}

const found = {
  containers: ["reader"],
  images: [{ reference: "pyisolate/lock:left", kind: "lock", pack: undefined, bytes: 5 }],
};

test.each([
  ["a minute", 60_000],
  ["two hours", 2 * hourMs],
])("what a build left that was killed after %s goes at once", async (_age, ageMs) => {
  const { engine, removed } = engineWithLeftovers(ageMs);
  await using manager = new ExtensionManager({ engine, environment: { XDG_RUNTIME_DIR: folder } });
  expect(await manager.prune({ dryRun: true })).toEqual({ isDryRun: true, ...found });
  expect(removed).toEqual([]);
  expect(existsSync(owner)).toBe(true);
  expect(await manager.prune()).toEqual({ isDryRun: false, ...found });
  expect(removed).toEqual(["reader", "pyisolate/lock:left"]);
  expect(existsSync(owner)).toBe(false);
});

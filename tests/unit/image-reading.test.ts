// A long reading of a pack's folder: it says how far it is, and ends when its reader gives up.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.ts";
import { ensureImage, findImage } from "../../src/image/ensure.ts";
import { hostSettingsFrom } from "../../src/image/host.ts";
import { Reading } from "../../src/image/reading.ts";
import { defaultImageSettings } from "../../src/image/settings.ts";
import { readPackSource } from "../../src/image/source.ts";
import type { ImageContext } from "../../src/image/work.ts";
import { testManifest } from "./container-manifest.ts";

const MiB = 1024 ** 2;
const fileCount = 40;
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "pi-reading-"));
  for (let index = 0; index < fileCount; index++) await writeFile(join(directory, `${index}.bin`), Buffer.alloc(1024));
  await writeFile(join(directory, "z-large.bin"), Buffer.alloc(10 * MiB));
});
afterAll(() => rm(directory, { recursive: true }));

/** Every look at its clock moves it on. */
function readingOf(stepMs: number, onLook: (looks: number) => void = () => {}, signal?: AbortSignal) {
  const notes: string[] = [];
  let looks = 0;
  const now = () => {
    onLook(++looks);
    return looks * stepMs;
  };
  const reading = new Reading({ folder: "/pack", signal, onNote: (text) => notes.push(text), now });
  return { reading, notes, looks: () => looks };
}

test("a quick one says nothing", async () => {
  const { reading, notes } = readingOf(1);
  await readPackSource(directory, reading);
  expect(notes).toEqual([]);
});

test("a slow one tells files and bytes, every two seconds", async () => {
  const { reading, notes } = readingOf(400);
  await readPackSource(directory, reading);
  expect(notes[0]).toMatch(/^reading \/pack: \d files found so far$/);
  expect(notes.at(-1)).toMatch(/^reading \/pack: \d+ of 41 files, \d+(\.\d+)?MB so far$/);
  expect(notes.length).toBeGreaterThan(5);
});

describe("an abort ends it", () => {
  test.each([
    ["while it looks for files", 5],
    ["between two files", fileCount + 20],
    ["within a large file", fileCount + 2 * fileCount + 3],
  ])("%s", async (_when, lastLook) => {
    const abort = new AbortController();
    const reason = new Error("enough");
    const giveUp = (looks: number) => looks === lastLook && abort.abort(reason);
    const { reading, looks } = readingOf(1, giveUp, abort.signal);
    await expect(readPackSource(directory, reading)).rejects.toBe(reason);
    expect(looks()).toBe(lastLook);
  });

  test("with one error, before the engine is asked for anything", async () => {
    const abort = new AbortController();
    const context: ImageContext = {
      engine: undefined as unknown as Engine,
      storeDirectory: "/nowhere",
      host: { ...hostSettingsFrom({}, []), caBundle: undefined, home: "/", isRoot: false, architecture: "x64" },
      settings: defaultImageSettings,
      ownerLabels: async () => ({}),
      signal: abort.signal,
    };
    const request = { manifest: testManifest(), packDirectory: directory, wheelsOnly: true };
    const ensured = ensureImage(request, context);
    const found = findImage(request, context);
    abort.abort(new Error("enough"));
    await expect(ensured).rejects.toMatchObject({ code: "CALL_CANCELLED", cause: abort.signal.reason });
    await expect(found).rejects.toBe(abort.signal.reason);
  });
});

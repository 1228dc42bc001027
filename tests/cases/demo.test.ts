// `npm run demo`, as the README promises it, with the packs grouped and kept apart.

import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import sharp from "sharp";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const pictureBytes = 512 * 512 * 3 * 4;
const route = "descriptor";

test("the demo runs both packs on the photograph and writes out/demo.json; the second run builds nothing", async () => {
  await runDemo();
  const { stdout, stderr, packs } = await runDemo();
  expect(stderr).not.toContain("building");
  expect(stdout).toContain("npx pyisolate run DIR NODE");
  expect(packs).toMatchObject([
    { name: "cartoon", numpy: "1.26.4", limits: { max_memory: 2 ** 30, max_cpu_percent: 100, max_pids: 64 } },
    {
      name: "film_look",
      numpy: expect.stringMatching(/^2\./),
      limits: { max_memory: 2 ** 29, max_cpu_percent: 50, max_pids: 32 },
    },
  ]);
  for (const pack of packs) {
    expect(pack.python).toMatch(/^3\.11\./);
    expect(pack.msPerCall).toBeGreaterThan(0);
    expect(pack.picture).toMatch(/^out\/.*\.png$/);
    expect(await sharp(join(root, pack.picture)).metadata()).toMatchObject({ format: "png", width: 512, height: 512 });
    for (const cell of [pack.name, pack.numpy, pack.route, pack.picture]) expect(stdout).toContain(cell);
  }
  const [drawn, toned] = await Promise.all(packs.map(({ picture }) => readFile(join(root, picture))));
  expect(drawn).not.toEqual(toned);
});

test("packs of one group hand the picture on where it lies; packs kept apart have it copied once", async () => {
  const together = await runDemo();
  expect(together.packs).toMatchObject([
    { route, bytesCopied: pictureBytes },
    { route, bytesCopied: 0 },
  ]);
  const apart = await runDemo("--no-share");
  expect(apart.packs).toMatchObject([
    { route, bytesCopied: pictureBytes },
    { route, bytesCopied: pictureBytes },
  ]);
});

interface DemoPack {
  readonly name: string;
  readonly python: string;
  readonly numpy: string;
  readonly route: string;
  readonly bytesCopied: number;
  readonly msPerCall: number;
  readonly picture: string;
}

async function runDemo(...options: string[]) {
  await rm(join(root, "out/demo.json"), { force: true });
  const { stdout, stderr } = await execa(process.execPath, ["scripts/demo.mjs", ...options], {
    cwd: root,
    timeout: 300_000,
  });
  const { packs } = JSON.parse(await readFile(join(root, "out/demo.json"), "utf8")) as { packs: readonly DemoPack[] };
  return { stdout, stderr, packs };
}

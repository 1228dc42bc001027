// `npm run demo`, as the README promises it.

import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import sharp from "sharp";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const pictureBytes = 512 * 512 * 3 * 4;

test("the demo runs both packs on the photograph and writes out/demo.json; the second run builds nothing", async () => {
  await execa(process.execPath, ["scripts/demo.mjs"], { cwd: root, timeout: 300_000 });
  await rm(join(root, "out/demo.json"));
  const { stdout, stderr } = await execa(process.execPath, ["scripts/demo.mjs"], { cwd: root, timeout: 300_000 });
  expect(stderr).not.toContain("building");
  expect(stdout).toContain("npx pyisolate run DIR NODE");

  const { packs } = JSON.parse(await readFile(join(root, "out/demo.json"), "utf8"));
  expect(packs).toMatchObject([
    { name: "cartoon", numpy: "1.26.4", limits: { max_memory: 2 ** 30, max_cpu_percent: 100, max_pids: 64 } },
    {
      name: "film_look",
      numpy: expect.stringMatching(/^2\./),
      limits: { max_memory: 2 ** 29, max_cpu_percent: 50, max_pids: 32 },
    },
  ]);
  for (const pack of packs) {
    expect(pack).toMatchObject({
      python: expect.stringMatching(/^3\.11\./),
      route: "inline",
      bytesCopied: pictureBytes,
    });
    expect(pack.msPerCall).toBeGreaterThan(0);
    expect(pack.picture).toMatch(/^out\/.*\.png$/);
    expect(await sharp(join(root, pack.picture)).metadata()).toMatchObject({ format: "png", width: 512, height: 512 });
    for (const cell of [pack.name, pack.numpy, pack.route, pack.picture]) expect(stdout).toContain(cell);
  }
  const [drawn, toned] = await Promise.all(
    packs.map(({ picture }: { picture: string }) => readFile(join(root, picture))),
  );
  expect(drawn).not.toEqual(toned);
});

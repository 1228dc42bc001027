// The README's TypeScript program: it compiles under our strict options, runs, and writes the picture it names.

import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import sharp from "sharp";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

test("the program of the README compiles and runs as it stands", async () => {
  const [, program] = /```ts\n(.*?)```/s.exec(await readFile(join(root, "README.md"), "utf8")) ?? [];
  await mkdir(join(root, "out"), { recursive: true });
  const directory = await mkdtemp(join(root, "out/readme-"));
  try {
    await writeFile(join(directory, "program.ts"), program ?? "");
    await symlink(join(root, "examples"), join(directory, "examples"));
    const config = { extends: "../../tsconfig.json", include: ["program.ts"] };
    await writeFile(join(directory, "tsconfig.json"), JSON.stringify(config));
    const tsc = join(root, "node_modules/typescript/bin/tsc");
    const compiled = await execa(process.execPath, [tsc, "-p", directory], { reject: false });
    expect(compiled.stdout).toBe("");
    await execa(process.execPath, ["--import", import.meta.resolve("tsx"), "program.ts"], { cwd: directory });
    expect(await sharp(join(directory, "out.png")).metadata()).toMatchObject({ width: 512, height: 512 });
  } finally {
    await rm(directory, { recursive: true });
  }
});

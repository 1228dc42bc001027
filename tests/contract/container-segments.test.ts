// What a container may do with the mounted directory of segments: use the files made for it, and nothing else.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Bench, openBench, runCode } from "./container-support.ts";

let bench: Bench;
beforeAll(async () => {
  bench = await openBench();
});
afterEach(async () => expect(await bench.leftovers()).toEqual([]));
afterAll(() => bench.close());

const attempt = (expression: string) => `
import os
directory = os.environ["PYISOLATE_SEGMENTS"]
try:
    result = ${expression}
except OSError as error:
    result = type(error).__name__
`;

test("a pack writes the files that are its own, reads the host's, and can neither make nor remove any", async () => {
  await using container = await bench.start({}, { segments: "mounted" });
  const directory = container.segmentsDirectory as string;
  await writeFile(join(directory, "theirs"), "....");
  await chmod(join(directory, "theirs"), 0o666);
  await writeFile(join(directory, "ours"), "host", { mode: 0o644 });
  const inPack = (expression: string) => runCode(container.connection, attempt(expression));

  expect(await inPack('open(directory + "/theirs", "r+b").write(b"pack")')).toBe(4);
  expect(readFileSync(join(directory, "theirs"), "utf8")).toBe("pack");
  expect(await inPack('open(directory + "/ours").read()')).toBe("host");
  expect(await inPack('open(directory + "/ours", "r+b").write(b"pack")')).toBe("PermissionError");
  expect(await inPack('os.truncate(directory + "/ours", 0)')).toBe("PermissionError");
  expect(await inPack('open(directory + "/new", "w")')).toBe("PermissionError");
  expect(await inPack('os.unlink(directory + "/ours")')).toBe("PermissionError");
  expect(await inPack('os.mkdir(directory + "/new")')).toBe("PermissionError");
  expect(readdirSync(directory).sort()).toEqual(["ours", "theirs"]);

  await container.stop({ graceMs: 0 });
  expect(existsSync(directory)).toBe(false);
});

test("control: in a directory that is open to all the pack does make files", async () => {
  await using container = await bench.start({}, { segments: "mounted" });
  await chmod(container.segmentsDirectory as string, 0o777);
  expect(await runCode(container.connection, attempt('open(directory + "/new", "w").write("x")'))).toBe(1);
});

test("without segments a pack has no such directory", async () => {
  await using container = await bench.start();
  expect(container.segmentsDirectory).toBeUndefined();
  expect(await runCode(container.connection, 'import os\nresult = "PYISOLATE_SEGMENTS" in os.environ')).toBe(false);
});

// Packs that work: through the library and through the command line, in real containers.

import { join } from "node:path";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { readPicture, Tensor } from "../../src/index.ts";
import { examplesDirectory, Place, packsDirectory, photograph } from "./harness.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.make();
});
afterAll(() => place[Symbol.asyncDispose]());
afterEach(async () => expect(await place.leftovers()).toEqual([]));

test("two packs whose numpy versions exclude each other run at the same time on one picture", async () => {
  await using manager = place.manager();
  const cartoon = await manager.loadExtension(join(examplesDirectory, "cartoon"));
  const filmLook = await manager.loadExtension(join(examplesDirectory, "film_look"));
  expect(cartoon.packages.numpy).toBe("1.26.4");
  expect(Number(filmLook.packages.numpy?.split(".")[0])).toBeGreaterThanOrEqual(2);
  expect(cartoon.limits).toEqual({ max_memory: 2 ** 30, max_cpu_percent: 100, max_pids: 64 });
  expect(filmLook.limits).toEqual({ max_memory: 2 ** 29, max_cpu_percent: 50, max_pids: 32 });
  const image = await readPicture(photograph);
  const [drawn] = (await cartoon.executeNode("Cartoon", { image })).outputs;
  const result = await filmLook.executeNode("FilmLook", { image: drawn as Tensor, strength: 0.8 });
  expect(result.bytesCopied).toBe(image.data.byteLength);
  expect(result.route).toBe("descriptor");
  expect(result.outputs[0]).toBeInstanceOf(Tensor);
  expect((result.outputs[0] as Tensor).shape).toEqual([1, 512, 512, 3]);
});

test("an extension written as promised: schema, call, progress", async () => {
  await using manager = place.manager();
  await using extension = await manager.loadExtension(join(packsDirectory, "promised"));
  expect(extension.nodeIds).toEqual(["MyNode", "MyOtherNode"]);
  expect(extension.nodeSchema("MyNode")).toMatchObject({
    displayName: "My node",
    category: "tests",
    inputs: [{ name: "number", type: "INT", required: true, options: { default: 1 } }],
    outputs: [{ name: "double", type: "INT", isList: false }],
  });
  const seen: unknown[] = [];
  const { outputs } = await extension.executeNode("MyNode", { number: 21 }, { onProgress: (step) => seen.push(step) });
  expect(outputs).toEqual([42]);
  expect(seen).toEqual([
    { value: 1, total: 2 },
    { value: 2, total: 2 },
  ]);
  expect((await extension.executeNode("MyOtherNode")).outputs).toEqual(["other"]);
});

test("integers of any size survive the way there and back", async () => {
  await using manager = place.manager();
  await using extension = await manager.loadExtension(join(packsDirectory, "trouble"));
  for (const integer of [2n ** 64n - 1n, -(2n ** 200n), Number.MAX_SAFE_INTEGER, 0]) {
    expect((await extension.executeNode("Echo", { integer })).outputs[0]).toBe(integer);
  }
});

test("a slow call delays no other call of the same pack", async () => {
  await using manager = place.manager();
  await using extension = await manager.loadExtension(join(packsDirectory, "trouble"));
  const slow = ["Sleep", "SleepAsync"].map((node) => extension.executeNode(node, { seconds: 5 }));
  let isSlowDone = false;
  void Promise.race(slow).then(() => (isSlowDone = true));
  const quick = Array.from({ length: 200 }, (_, integer) => extension.executeNode("Echo", { integer }));
  const results = await Promise.all(quick);
  expect(results.map((result) => result.outputs[0])).toEqual(Array.from({ length: 200 }, (_, integer) => integer));
  expect(isSlowDone).toBe(false);
  await Promise.all(slow);
});

test("a program's config wins over the manifest", async () => {
  await using manager = place.manager();
  const module_path = join(packsDirectory, "promised");
  await using extension = await manager.loadExtension({ name: "renamed", module_path, max_memory: "256MB" });
  expect(extension.name).toBe("renamed");
  expect(extension.limits.max_memory).toBe(256 * 2 ** 20);
});

test("run prints one JSON object, big integers as JSON numbers, and writes the picture", async () => {
  const echo = ["--input", "integer=18446744073709551615", "--input", "number=0.5", "--input", "flag=true"];
  const echoed = await place.pyisolate([
    "run",
    join(packsDirectory, "trouble"),
    "Echo",
    "--json",
    ...echo,
    "--input",
    "text=a=b",
  ]);
  expect(echoed.stdout).toMatch(
    /^\{"node":"Echo","outputs":\[18446744073709551615,0\.5,true,"a=b","first"\],"ms":[\d.]+,"bytesCopied":0\}$/,
  );
  expect(echoed.exit).toBe(0);

  const picture = join(place.directory, "out.png");
  const args = ["run", join(examplesDirectory, "film_look"), "FilmLook", "--input", `image=${photograph}`];
  const toned = await place.pyisolate([...args, "--input", "strength=0", "--output", picture, "--json"]);
  expect(JSON.parse(toned.stdout)).toMatchObject({ node: "FilmLook", outputs: [picture], bytesCopied: 512 * 512 * 12 });
  const [written, original] = await Promise.all([picture, photograph].map((file) => sharp(file).raw().toBuffer()));
  expect(written?.equals(original as Buffer), "strength 0 leaves every pixel as it was").toBe(true);
});

test("a second build builds nothing, and inspect shows the pack", async () => {
  const directory = join(packsDirectory, "promised");
  await place.pyisolate(["build", directory]);
  const { stdout, exit } = await place.pyisolate(["build", directory, "--json"]);
  expect(exit).toBe(0);
  const built = JSON.parse(stdout);
  expect(built.links.map((link: { state: string }) => link.state)).toEqual(built.links.map(() => "cached"));
  const inspected = JSON.parse((await place.pyisolate(["inspect", directory, "--json"])).stdout);
  expect(inspected).toMatchObject({
    name: "promised",
    version: "1.0.0",
    image: { reference: built.image, present: true },
  });
});

test("a build that resolves dependencies anew gives the same image and ends by itself", async () => {
  const build = (state: string) =>
    place.pyisolate(["build", join(examplesDirectory, "cartoon"), "--json"], {
      env: { XDG_STATE_HOME: join(place.directory, state) },
    });
  const [first, second] = [await build("state-1"), await build("state-2")];
  expect(first.stderr).toContain("lock: built");
  expect(JSON.parse(second.stdout).image).toBe(JSON.parse(first.stdout).image);
});

test("help, version and an unknown verb", async () => {
  expect(await place.pyisolate(["--version"])).toMatchObject({
    exit: 0,
    stdout: expect.stringMatching(/^\d+\.\d+\.\d+$/),
  });
  const help = await place.pyisolate(["--help"]);
  expect(help.exit).toBe(0);
  for (const verb of ["check", "build", "run", "inspect", "prune"]) expect(help.stdout).toContain(verb);
  expect((await place.pyisolate(["biuld"])).exit).toBe(2);
});

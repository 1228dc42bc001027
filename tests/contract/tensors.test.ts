// One suite over every route and every kind of host: what a node gets is what was given, what it gives is what it made,
// and the bytes that were copied are counted. Real containers, real numpy.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createOwnerDirectory } from "../../src/container/rundir.ts";
import { connectEngine } from "../../src/engine/docker.ts";
import { ExtensionManager } from "../../src/index.ts";
import { checkShape } from "../../src/tensor/layout.ts";
import { type Host, type Job, type Route, ramp } from "./tensor-hosts/host.ts";
import { startPythonHost } from "./tensor-hosts/python.ts";
import { type Place, sha256, startTypeScriptHost } from "./tensor-hosts/typescript.ts";

const kinds: readonly {
  label: string;
  routes: readonly Route[];
  start: (place: Place, route: Route) => Promise<Host>;
}[] = [
  {
    label: "TypeScript with koffi",
    routes: ["descriptor", "path", "inline"],
    start: (place, route) => startTypeScriptHost(place, route, true),
  },
  {
    label: "TypeScript without koffi",
    routes: ["path", "inline"],
    start: (place, route) => startTypeScriptHost(place, route, false),
  },
  { label: "Python", routes: ["descriptor", "path", "inline"], start: startPythonHost },
];

/** Above the 64 KiB that always travel inline. */
const large = { dtype: "float32", shape: [64, 64, 32] } as const;
const largeBytes = 64 * 64 * 32 * 4;
const dtypes = [
  ..."bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64 complex64 complex128".split(" "),
  ..."bfloat16 float8_e4m3fn float8_e5m2 datetime64[ns] timedelta64[s]".split(" "),
];
const shapes = [[], [0, 3], [5], [2, 3, 4], [3, 40_000]];

const scratch = mkdtempSync(join(tmpdir(), "pi-"));
let place: Place;
let closePlace: () => Promise<void>;

beforeAll(async () => {
  const engine = await connectEngine({ dockerHost: process.env.DOCKER_HOST });
  const manager = new ExtensionManager();
  const { image, manifest } = await manager.ensureImage(join(import.meta.dirname, "tensor-pack"));
  await manager.stop();
  const owner = await createOwnerDirectory(join(scratch, "run"));
  place = { engine, owner, image: image.reference, manifest };
  closePlace = () => owner.close();
});
afterAll(async () => {
  await closePlace();
  rmSync(scratch, { recursive: true });
});

const matrix = kinds.flatMap((kind) => kind.routes.map((route) => ({ ...kind, route })));

describe.each(matrix)("$label, $route", ({ route, start }) => {
  let host: Host;
  beforeAll(async () => {
    host = await start(place, route);
  });
  afterAll(async () => {
    expect(await host.close()).toEqual([]);
  });
  const isShared = route !== "inline";

  test.each(dtypes)("%s of every kind of shape comes back as it was", async (dtype) => {
    for (const shape of shapes) {
      const { output } = await host.run({ node: "Echo", dtype, shape });
      expect(output).toEqual({ dtype, shape, sha256: sha256(ramp(dtype, checkShape(dtype, shape))) });
    }
  });

  test("an input is copied once, or not at all where it was made in shared memory", async () => {
    expect(await host.run({ node: "Digest", ...large })).toMatchObject({ bytesCopied: largeBytes, route });
    const shared = await host.run({ node: "Digest", ...large, isShared: true });
    // A host has memory files only: to a pack that takes its segments by path they are copied.
    expect(shared).toMatchObject({ bytesCopied: route === "descriptor" ? 0 : largeBytes, route });
    expect(shared.output).toBe(sha256(ramp("float32", largeBytes)));
  });

  test("results in place, copied, and views of them with any strides arrive as they are", async () => {
    const rows = rowsOf(large);
    const half = scaled(ramp("float32", largeBytes), 0.5);
    expect(await outputOf(host, "HalfInPlace")).toMatchObject({ shape: large.shape, sha256: sha256(half) });
    expect(await outputOf(host, "HalfCopied")).toMatchObject({ shape: large.shape, sha256: sha256(half) });
    expect(await outputOf(host, "Batch")).toMatchObject({ sha256: sha256(Buffer.concat(rows.slice(1, 3))) });
    expect(await outputOf(host, "Every2nd")).toMatchObject({
      sha256: sha256(Buffer.concat(rows.filter((_, index) => index % 2 === 0))),
    });
    const reversed = sha256(Buffer.concat([...rows].reverse()));
    expect(await outputOf(host, "Reversed")).toMatchObject({ sha256: reversed });
    expect(await outputOf(host, "ViewOfEmpty")).toMatchObject({ sha256: reversed });
    const threefold = { shape: [3, ...large.shape], sha256: sha256(Buffer.concat([...rows, ...rows, ...rows])) };
    expect(await outputOf(host, "Broadcast")).toMatchObject(threefold);
    expect(await outputOf(host, "BroadcastNew")).toMatchObject(threefold);
    expect(await outputOf(host, "Transposed")).toMatchObject({
      shape: [32, 64, 64],
      sha256: sha256(transposed(ramp("float32", largeBytes), large.shape)),
    });
  });

  test("what a node writes into its input stays in the node, and the next reader of the memory sees nothing of it", async () => {
    const expected = sha256(ramp("float32", largeBytes));
    for (let turn = 0; turn < 4; turn += 1) {
      const isOwnShared = turn % 2 === 0;
      const spoilt = await host.run({ node: "Spoil", ...large, isShared: isOwnShared });
      expect(spoilt).toMatchObject({ output: expected, inputAfter: expected });
    }
    expect(await host.run({ node: "Digest", ...large })).toMatchObject({ output: expected });
  });

  test("a pack that never lets go keeps its own memory, not the others'", async () => {
    await host.run({ node: "Keep", ...large });
    await host.run({ node: "Keep", ...large });
    expect(await host.run({ node: "Digest", ...large })).toMatchObject({ output: sha256(ramp("float32", largeBytes)) });
    if (isShared) expect(await host.bytesInUse()).toBeGreaterThanOrEqual(2 * largeBytes);
    await host.run({ node: "Forget", dtype: "uint8", shape: [1] });
    await host.run({ node: "Digest", dtype: "uint8", shape: [1] });
    expect(await host.bytesInUse()).toBe(0);
  });

  if (!isShared) return; // memory that is not shared has no such limit

  test("a pack that asks for more than max_shm is told the limit, and goes on", async () => {
    await expect(host.run({ node: "TooMuch", dtype: "uint8", shape: [1] })).rejects.toThrow(/max_shm/);
    expect(await host.run({ node: "Digest", ...large })).toMatchObject({ output: sha256(ramp("float32", largeBytes)) });
  });
});

async function outputOf(host: Host, node: string) {
  return (await host.run({ node, ...large })).output;
}

/** The bytes of each index of the first axis. */
function rowsOf({ shape }: Pick<Job, "shape">): Uint8Array[] {
  const bytes = ramp("float32", largeBytes);
  const step = largeBytes / (shape[0] as number);
  return Array.from({ length: shape[0] as number }, (_, row) => bytes.subarray(row * step, (row + 1) * step));
}

function scaled(bytes: Uint8Array, factor: number): Uint8Array {
  const elements = new Float32Array(bytes.buffer).map((element) => element * factor);
  return new Uint8Array(elements.buffer);
}

/** All axes in the opposite order. */
function transposed(bytes: Uint8Array, [a, b, c]: readonly [number, number, number]): Uint8Array {
  const source = new Uint32Array(bytes.buffer);
  const result = new Uint32Array(source.length);
  for (let i = 0; i < a; i += 1)
    for (let j = 0; j < b; j += 1)
      for (let k = 0; k < c; k += 1) result[(k * b + j) * a + i] = source[(i * b + j) * c + k] as number;
  return new Uint8Array(result.buffer);
}

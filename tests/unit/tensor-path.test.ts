// Segments by path: files in a directory that a container sees. No native call is made.

import { linkSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Transfer } from "../../src/rpc/peer.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { type Connected, KiB, Said, until, useTensors } from "./tensor-support.ts";

const { makeHost, connect } = useTensors();
const connectByPath = (host: ReturnType<typeof makeHost>, domain = host.domain()) =>
  connect(host, { kind: "path", domain });
type Pack = Awaited<ReturnType<typeof connectByPath>>;

const transfer = (): Transfer => ({ bytesCopied: 0, routes: [] });
const counting = (nbytes: number) => Uint8Array.from({ length: nbytes }, (_, index) => index * 7);
const lastTaken = ({ worker }: Connected) => worker.taken.at(-1) as Said;

function fileOf(pack: Pack, segment: number): string {
  return join(pack.directory, pack.worker.segments.get(segment)?.path as string);
}

async function given(pack: Pack, bytes: Uint8Array): Promise<{ tensor: Tensor; file: string }> {
  const segment = (await pack.worker.peer.call("allocate", [bytes.byteLength])) as number;
  const file = fileOf(pack, segment);
  writeFileSync(file, bytes, { flag: "r+" });
  pack.worker.gift = new Said({ dtype: "uint8", shape: [bytes.byteLength], segment, offset: 0, lease: "new" });
  return { tensor: (await pack.peer.call("give", [])) as Tensor, file };
}

test("to a pack: its file has the bytes, full size at once, and only this user may write it", async () => {
  const pack = await connectByPath(makeHost({ native: undefined }));
  const moved = transfer();
  await pack.peer.call("take", [new Tensor("uint8", [100_000], counting(100_000))], { transfer: moved });
  expect(moved).toEqual({ bytesCopied: 100_000, routes: ["path"] });
  const file = fileOf(pack, lastTaken(pack).segment);
  const { size, mode, blocks } = statSync(file);
  expect({ size, mode: mode & 0o777, blocks }).toEqual({ size: 128 * KiB, mode: 0o644, blocks: 256 });
  expect(readFileSync(file).subarray(0, 100_000).equals(counting(100_000))).toBe(true);
});

test("gaps are not copied", async () => {
  const pack = await connectByPath(makeHost({ native: undefined }));
  const wide = new Tensor("uint8", [70_000], counting(140_000), [-2], 139_998);
  await pack.peer.call("take", [wide]);
  const written = readFileSync(fileOf(pack, lastTaken(pack).segment)).subarray(0, 70_000);
  expect(written.equals(wide.data)).toBe(true);
});

test("from a pack: everybody may write its file; host code sees a copy", async () => {
  const host = makeHost({ native: undefined });
  const pack = await connectByPath(host);
  const { tensor, file } = await given(pack, counting(100_000));
  expect(statSync(file).mode & 0o777).toBe(0o666);
  expect(tensor.data).toEqual(counting(100_000));
  writeFileSync(file, new Uint8Array(100_000), { flag: "r+" });
  expect(tensor.data).toEqual(counting(100_000));
  expect(host.stats().snapshotBytes).toBe(100_000);
});

test("a file that its pack has cut: TENSOR_INVALID, and no crash", async () => {
  const pack = await connectByPath(makeHost({ native: undefined }));
  const { tensor, file } = await given(pack, counting(100_000));
  truncateSync(file, 5_000);
  expect(() => tensor.data).toThrowError(expect.objectContaining({ code: "TENSOR_INVALID" }));
  const reader = await connectByPath(makeHost({ native: undefined }));
  await expect(reader.peer.call("take", [tensor])).rejects.toMatchObject({ code: "TENSOR_INVALID" });
});

describe("inside a group", () => {
  test("a result goes on as a link in the reader's directory, without a copy, and goes with the segment", async () => {
    const host = makeHost({ native: undefined, idleMs: 30 });
    const domain = host.domain();
    const [writer, reader] = [await connectByPath(host, domain), await connectByPath(host, domain)];
    const { tensor, file } = await given(writer, counting(100_000));
    const moved = transfer();
    await reader.peer.call("take", [tensor], { transfer: moved });
    expect(moved).toEqual({ bytesCopied: 0, routes: ["path"] });
    expect(statSync(fileOf(reader, lastTaken(reader).segment)).ino).toBe(statSync(file).ino);
    tensor.release();
    lastTaken(reader).release();
    await until(() => host.stats().segments === 0);
    expect([...readdirSync(writer.directory), ...readdirSync(reader.directory)]).toEqual([]);
  });

  test("an input that comes back unchanged goes on as it is", async () => {
    const host = makeHost({ native: undefined });
    const domain = host.domain();
    const [one, two] = [await connectByPath(host, domain), await connectByPath(host, domain)];
    await one.peer.call("take", [new Tensor("uint8", [100_000], counting(100_000))]);
    one.worker.gift = new Said({ ...lastTaken(one).payload, lease: "new" });
    const back = (await one.peer.call("give", [])) as Tensor;
    const moved = transfer();
    await two.peer.call("take", [back], { transfer: moved });
    expect(moved.bytesCopied).toBe(0);
    expect(back.data).toEqual(counting(100_000));
  });

  test.each([true, false])("the writer ends and its directory goes; a reader had it before: %s", async (hadReader) => {
    const host = makeHost({ native: undefined });
    const domain = host.domain();
    const [writer, reader, late] = [
      await connectByPath(host, domain),
      await connectByPath(host, domain),
      await connectByPath(host, domain),
    ];
    const { tensor } = await given(writer, counting(100_000));
    if (hadReader) await reader.peer.call("take", [tensor]);
    await writer.kill();
    rmSync(writer.directory, { recursive: true });
    const moved = transfer();
    await late.peer.call("take", [tensor], { transfer: moved });
    expect(moved).toEqual({ bytesCopied: hadReader ? 0 : 100_000, routes: ["path"] });
    const seen = readFileSync(fileOf(late, lastTaken(late).segment)).subarray(0, 100_000);
    expect(seen.equals(counting(100_000))).toBe(true);
    expect(tensor.data).toEqual(counting(100_000));
  });

  test("files whose directory goes unnoticed are passed over", async () => {
    const host = makeHost({ native: undefined });
    const domain = host.domain();
    const [first, second] = [await connectByPath(host, domain), await connectByPath(host, domain)];
    await first.peer.call("take", [new Tensor("uint8", [100_000], counting(100_000))]);
    lastTaken(first).release();
    await until(() => host.stats().warmBytes > 0);
    rmSync(first.directory, { recursive: true });
    const moved = transfer();
    await second.peer.call("take", [new Tensor("uint8", [100_000], counting(100_000))], { transfer: moved });
    expect(moved.bytesCopied).toBe(100_000);
    await second.peer.call("take", [new Tensor("uint8", [100_000], counting(100_000))], { transfer: moved });
    expect(moved).toEqual({ bytesCopied: 100_000, routes: ["path"] });
  });
});

test("a warm file goes with the directory of the pack that ended: the next pack of the group gets a new one", async () => {
  const host = makeHost({ native: undefined });
  const domain = host.domain();
  const [first, second] = [await connectByPath(host, domain), await connectByPath(host, domain)];
  await first.peer.call("take", [new Tensor("uint8", [100_000], counting(100_000))]);
  await first.kill();
  rmSync(first.directory, { recursive: true });
  await second.peer.call("take", [new Tensor("uint8", [100_000], counting(100_000))]);
  const written = readFileSync(fileOf(second, lastTaken(second).segment)).subarray(0, 100_000);
  expect(written.equals(counting(100_000))).toBe(true);
});

test("outside the group a copy is made, once", async () => {
  const host = makeHost({ native: undefined });
  const [writer, reader] = [await connectByPath(host), await connectByPath(host)];
  const { tensor } = await given(writer, counting(100_000));
  const moved = [transfer(), transfer()];
  await reader.peer.call("take", [tensor], { transfer: moved[0] });
  await reader.peer.call("take", [tensor], { transfer: moved[1] });
  expect(moved.map(({ bytesCopied }) => bytesCopied)).toEqual([100_000, 0]);
  expect(tensor.data).toEqual(counting(100_000));
});

test("host.empty without native calls is ordinary memory", async () => {
  const host = makeHost({ native: undefined });
  const tensor = await host.empty("float32", [100, 1000]);
  expect({ bytes: tensor.data.byteLength, segments: host.stats().segments }).toEqual({ bytes: 400_000, segments: 0 });
});

test("files go with the pool, and with a pack that dies", async () => {
  const host = makeHost({ native: undefined, keepBytes: 0 });
  const pack = await connectByPath(host);
  await pack.peer.call("take", [new Tensor("uint8", [100_000], counting(100_000))]);
  const { tensor } = await given(pack, counting(100_000));
  await pack.kill();
  tensor.release();
  await until(() => host.stats().segments === 0);
  expect(readdirSync(pack.directory)).toEqual([]);
});

test("a file of that name that is there already is not used", async () => {
  const host = makeHost({ native: undefined, waitMs: 10 });
  const pack = await connectByPath(host);
  writeFileSync(join(pack.directory, "other"), "x");
  linkSync(join(pack.directory, "other"), join(pack.directory, "segment-1"));
  await expect(pack.worker.peer.call("allocate", [100_000])).rejects.toMatchObject({ code: "SHARED_MEMORY_EXHAUSTED" });
  expect(readFileSync(join(pack.directory, "segment-1"), "utf8")).toBe("x");
  expect(host.stats().bytes).toBe(0);
});

test("descriptors without native calls: refused with the way out", async () => {
  const host = makeHost({ native: undefined });
  await expect(connect(host, { kind: "descriptor" })).rejects.toMatchObject({
    code: "ISOLATION_UNAVAILABLE",
    details: { next: expect.stringMatching("koffi") },
  });
});

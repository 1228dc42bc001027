// The tensors of one connection: what is sent by reference and what is copied, and what a worker may name.

import { beforeAll, describe, expect, test } from "vitest";
import type { Transfer } from "../../src/rpc/peer.ts";
import { Tuple, type Value } from "../../src/rpc/values.ts";
import type { Native } from "../../src/tensor/native.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { type Connected, KiB, needNative, Said, until, useTensors } from "./tensor-support.ts";

const { makeHost, connect } = useTensors();
let native: Native;
beforeAll(async () => {
  native = await needNative();
});

function transfer(): Transfer {
  return { bytesCopied: 0, routes: [] };
}

function ordinary(nbytes: number): Tensor {
  return new Tensor("uint8", [nbytes], new Uint8Array(nbytes).fill(7));
}

const lastTaken = ({ worker }: Connected) => worker.taken.at(-1) as Said;

/** A tensor that the worker has written into a segment of its own. */
async function given(pack: Connected, payload: Record<string, unknown> = {}): Promise<{ tensor: Tensor; said: Said }> {
  const segment = await pack.worker.peer.call("allocate", [200_000]);
  const said = new Said({ dtype: "uint8", shape: [200_000], segment, offset: 0, lease: "new", ...payload });
  pack.worker.gift = said;
  return { tensor: (await pack.peer.call("give", [])) as Tensor, said };
}

describe("sending", () => {
  test("up to 64 KiB inline, beyond that in a segment; what was copied is counted", async () => {
    const pack = await connect(makeHost({ native }));
    const small = transfer();
    await pack.peer.call("take", [ordinary(64 * KiB)], { transfer: small });
    expect(small).toEqual({ bytesCopied: 64 * KiB, routes: ["inline"] });
    expect(pack.worker.segments.size).toBe(0);
    const large = transfer();
    await pack.peer.call("take", [[{ deep: new Tuple([ordinary(64 * KiB + 1)]) }]], { transfer: large });
    expect(large).toEqual({ bytesCopied: 64 * KiB + 1, routes: ["descriptor"] });
    expect([...pack.worker.segments.values()]).toEqual([{ nbytes: 128 * KiB, writable: false }]);
  });

  test("64 KiB are inline even where a warm segment waits", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    (await host.empty("uint8", [100_000])).release();
    const moved = transfer();
    await pack.peer.call("take", [ordinary(64 * KiB)], { transfer: moved });
    expect(moved.routes).toEqual(["inline"]);
  });

  test("a worker that does not know segments gets all inline", async () => {
    const pack = await connect(makeHost({ native }), { workerFeatures: [] });
    const moved = transfer();
    await pack.peer.call("take", [ordinary(100_000)], { transfer: moved });
    expect(moved).toEqual({ bytesCopied: 100_000, routes: ["inline"] });
  });

  test("values in a circle are refused, however many ways round there are", async () => {
    const pack = await connect(makeHost({ native }));
    const circle: Value[] = [];
    circle.push(circle, circle, circle);
    await expect(pack.peer.call("take", [circle])).rejects.toMatchObject({ code: "VALUE_UNSUPPORTED" });
  });

  test("host.empty is sent without a copy, again and again, from one segment", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    const tensor = await host.empty("float32", [100, 1000]);
    const moved = transfer();
    for (let count = 0; count < 3; count += 1) await pack.peer.call("take", [tensor], { transfer: moved });
    expect(moved).toEqual({ bytesCopied: 0, routes: ["descriptor"] });
    expect(pack.worker.segments.size).toBe(1);
    expect(new Set(pack.worker.taken.map((said) => (said as Said).payload.lease)).size).toBe(3);
  });

  test("strides and offset travel as they are; without gaps no element is copied one by one", async () => {
    const pack = await connect(makeHost({ native }));
    const data = new Uint8Array(300_000);
    await pack.peer.call("take", [new Tensor("uint8", [300, 1000], data, [-1000, 1], 299_000)]);
    expect(lastTaken(pack).payload).toMatchObject({ shape: [300, 1000], strides: [-1000, 1], offset: 299_000 });
    const moved = transfer();
    await pack.peer.call("take", [new Tensor("uint8", [1000, 300], data, [0, 1000])], { transfer: moved });
    expect(moved.bytesCopied).toBe(300);
    expect(lastTaken(pack).payload).toMatchObject({ strides: [0, 1], offset: 0 });
  });

  test("the segment is used again when the worker has released its lease, not before", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    const segments = [];
    for (let count = 0; count < 2; count += 1) {
      await pack.peer.call("take", [ordinary(100_000)]);
      segments.push(lastTaken(pack).segment);
    }
    expect(new Set(segments).size).toBe(2);
    lastTaken(pack).release();
    await until(() => host.stats().warmBytes > 0);
    await pack.peer.call("take", [ordinary(100_000)]);
    expect(lastTaken(pack).segment).toBe(segments[1]);
  });

  test("packs of one domain read one segment, packs of another get a copy in one of their own", async () => {
    const host = makeHost({ native });
    const domain = host.domain();
    const [one, two] = [await connect(host, { domain }), await connect(host, { domain })];
    const other = await connect(host);
    const tensor = await host.empty("uint8", [100_000]);
    const moved = [transfer(), transfer(), transfer()];
    for (const [index, pack] of [one, two, other].entries()) {
      await pack.peer.call("take", [tensor], { transfer: moved[index] });
    }
    expect(moved.map(({ bytesCopied }) => bytesCopied)).toEqual([0, 0, 100_000]);
    expect(host.stats().segments).toBe(2);
  });

  test("a released tensor: TENSOR_RELEASED", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    for (const tensor of [await host.empty("uint8", [100_000]), ordinary(100_000), ordinary(10)]) {
      tensor.release();
      await expect(pack.peer.call("take", [tensor])).rejects.toMatchObject({ code: "TENSOR_RELEASED" });
      expect(() => tensor.data).toThrowError(expect.objectContaining({ code: "TENSOR_RELEASED" }));
    }
  });

  test("what host code wrote for itself never shows in the tail of another tensor", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    const secret = await host.empty("uint8", [120 * KiB]);
    secret.data.fill(0x5e);
    secret.release();
    const tensor = await host.empty("uint8", [100 * KiB], host.domain());
    expect(tensor.data.every((byte) => byte === 0)).toBe(true);
    await pack.peer.call("take", [tensor]);
    expect(host.stats().segments).toBe(2);
  });
});

describe("receiving", () => {
  test("a result lies in the pack's segment; nothing is copied before host code looks, and then once", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    const { tensor, said } = await given(pack);
    expect({ copied: host.stats().snapshotBytes, isReleased: said.isReleased }).toEqual({
      copied: 0,
      isReleased: false,
    });
    expect(tensor.data.byteLength).toBe(200_000);
    tensor.data[0] = 1;
    expect(tensor.data[0]).toBe(1);
    expect(host.stats().snapshotBytes).toBe(200_000);
    await until(() => said.isReleased);
  });

  test("release ends the pack's lease, unlooked", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    const { tensor, said } = await given(pack);
    tensor.release();
    await until(() => said.isReleased);
    expect(host.stats().snapshotBytes).toBe(0);
  });

  test("inside its domain a result goes on where it lies, and its pack's lease lasts as long as the reader's", async () => {
    const host = makeHost({ native });
    const domain = host.domain();
    const [writer, reader] = [await connect(host, { domain }), await connect(host, { domain })];
    const { tensor, said } = await given(writer, { shape: [100_000], strides: [-2], offset: 199_998 });
    const moved = transfer();
    await reader.peer.call("take", [tensor], { transfer: moved });
    expect(moved.bytesCopied).toBe(0);
    expect(lastTaken(reader).payload).toMatchObject({ shape: [100_000], strides: [-2], offset: 199_998 });
    expect(reader.worker.segments.get(lastTaken(reader).segment)).toMatchObject({ writable: false });
    tensor.release();
    await reader.peer.call("take", []);
    await writer.peer.call("take", []);
    expect(said.isReleased).toBe(false);
    lastTaken(reader).release();
    await until(() => said.isReleased);
  });

  test("outside its domain the first reader makes the snapshot, which is the tensor from then on", async () => {
    const host = makeHost({ native });
    const [writer, reader] = [await connect(host), await connect(host)];
    const { tensor, said } = await given(writer);
    const moved = [transfer(), transfer()];
    await reader.peer.call("take", [tensor], { transfer: moved[0] });
    await until(() => said.isReleased);
    await reader.peer.call("take", [tensor], { transfer: moved[1] });
    expect(moved.map(({ bytesCopied }) => bytesCopied)).toEqual([200_000, 0]);
    expect(tensor.data.byteLength).toBe(200_000);
    expect(host.stats().snapshotBytes).toBe(0);
  });

  test("an input that comes back unchanged is the same memory", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    const tensor = await host.empty("uint8", [100_000]);
    await pack.peer.call("take", [tensor]);
    const { payload, release } = lastTaken(pack);
    const said = new Said({ ...payload, lease: "new" });
    pack.worker.gift = said;
    const back = (await pack.peer.call("give", [])) as Tensor;
    release();
    tensor.data[5] = 42;
    expect(back.data[5]).toBe(42);
    tensor.release();
    await pack.peer.call("take", []);
    expect(back.data[5]).toBe(42);
    expect(host.stats().warmBytes).toBe(0);
    expect(said.isReleased).toBe(true); // the host keeps it, not the pack
    back.release();
    expect(host.stats().warmBytes).toBe(128 * KiB);
  });

  test("a pack whose memory the policy trusts is looked at where it writes", async () => {
    const host = makeHost({ native });
    const pack = await connect(host, { trustMemory: true });
    const { tensor } = await given(pack);
    tensor.data[3] = 1; // would end this program if the mapping were read-only
    expect({ byte: tensor.data[3], copied: host.stats().snapshotBytes }).toEqual({ byte: 1, copied: 0 });
  });

  test("tensors of a pack that died stay readable, and their memory goes with the last of them", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    const { tensor } = await given(pack);
    await pack.kill();
    expect(host.stats().bytes).toBe(229_376);
    expect(tensor.data.byteLength).toBe(200_000); // a snapshot; room for the next is being made
    await until(() => host.stats().warmBytes === host.stats().bytes);
    expect(host.stats().bytes).toBe(229_376);
  });

  test("an empty tensor in a segment holds nothing", async () => {
    const pack = await connect(makeHost({ native }));
    const { tensor, said } = await given(pack, { shape: [0, 3], strides: [7, 7] });
    await until(() => said.isReleased);
    expect(tensor.data).toEqual(new Uint8Array(0));
  });
});

describe("what a worker must not say", () => {
  const place = { dtype: "uint8", shape: [1000], offset: 0, lease: "new" };

  async function refused(pack: Connected, payload: Record<string, unknown>): Promise<void> {
    pack.worker.gift = new Said(payload);
    await expect(pack.peer.call("give", [])).rejects.toMatchObject({ code: "PROTOCOL_VIOLATION" });
    expect((await pack.peer.closed)?.code).toBe("PROTOCOL_VIOLATION");
  }

  test.each<[string, Record<string, unknown>]>([
    ["more elements than the segment has", { shape: [229_377] }],
    ["an element beyond the end by its offset", { shape: [1], offset: 229_376 }],
    ["an element beyond the end by its stride", { shape: [2], strides: [229_376] }],
    ["an element before the start", { shape: [2], strides: [-1] }],
    ["a count beyond 2^53 / item size", { dtype: "float64", shape: [2 ** 52] }],
    ["counts whose product wraps to a small number in 64 bits", { shape: [2 ** 32, 2 ** 32] }],
    ["strides that wrap in 64 bits", { shape: [3], strides: [2 ** 53 - 1] }],
    ["strides of both signs that meet again", { shape: [3, 3], strides: [2 ** 52, -(2 ** 52)] }],
    ["one element four thousand million times", { shape: [2 ** 32], strides: [0] }],
    ["elements that overlap to gigabytes", { shape: [2 ** 16, 2 ** 16], strides: [1, 1] }],
    ["an offset below 0", { offset: -1 }],
    ["an offset with a fraction", { offset: 0.5 }],
    ["an offset as text", { offset: "0" }],
    ["an offset that is no multiple of the element", { dtype: "float32", shape: [1], offset: 2 }],
    ["a larger dtype on the same shape", { dtype: "complex128", shape: [20_000] }],
    ["an unknown dtype", { dtype: "object" }],
    ["a dtype of an object's method", { dtype: "constructor" }],
    ["a dtype that is a list", { dtype: ["uint8"] }],
    ["a shape that is text", { shape: "11" }],
    ["a count with a fraction", { shape: [0.5] }],
    ["33 axes", { shape: Array(33).fill(1) }],
    ["strides that are null", { strides: null }],
    ["fewer strides than axes", { shape: [2, 2], strides: [1] }],
    ["a stride as text", { strides: ["1"] }],
    ["a segment that is not attached", { segment: 999 }],
    ["a segment as text", { segment: "1" }],
    ["a segment that is __proto__", { segment: "__proto__" }],
    ["another key", { nbytes: 1000 }],
    ["an attachment, too", { attachment: 0 }],
    ["no lease", { lease: undefined }],
    ["a lease of 0", { lease: 0 }],
    ["a lease beyond 2^32", { lease: 2 ** 32 }],
    ["a lease as text", { lease: "1" }],
  ])("%s", async (_name, fields) => {
    const pack = await connect(makeHost({ native }));
    const segment = await pack.worker.peer.call("allocate", [200_000]);
    await refused(pack, { ...place, segment, ...fields });
  });

  test("a lease that is live", async () => {
    const pack = await connect(makeHost({ native }));
    const { tensor } = await given(pack);
    const lease = 2; // allocate took 1
    await refused(pack, { ...place, segment: [...pack.worker.segments.keys()][0], lease });
    expect(tensor.isReleased).toBe(false);
  });

  test("an input segment whose lease it has released", async () => {
    const pack = await connect(makeHost({ native }));
    await pack.peer.call("take", [ordinary(100_000)]);
    const { segment, release } = lastTaken(pack);
    release();
    await refused(pack, { ...place, segment });
  });

  test("an input segment that was never leased to it: that of another pack of its domain", async () => {
    const host = makeHost({ native });
    const domain = host.domain();
    const [one, two] = [await connect(host, { domain }), await connect(host, { domain })];
    await one.peer.call("take", [ordinary(100_000)]);
    await refused(two, { ...place, segment: lastTaken(one).segment });
  });

  test("segments when the feature is off", async () => {
    const pack = await connect(makeHost({ native }), { workerFeatures: [] });
    await refused(pack, { ...place, segment: 1, lease: 1 });
  });

  test("a byte on the descriptor socket: the pack is told on, and no descriptor is sent any more", async () => {
    const pack = await connect(makeHost({ native }));
    pack.descriptors?.write("x");
    await until(() => pack.violations.length === 1);
    expect(pack.violations[0]?.code).toBe("PROTOCOL_VIOLATION");
    await expect(pack.peer.call("take", [ordinary(100_000)])).rejects.toMatchObject({ code: "PROTOCOL_VIOLATION" });
  });

  test("the end of the descriptor socket while the pack lives: what needs it fails, nobody is accused", async () => {
    const pack = await connect(makeHost({ native }));
    pack.descriptors?.destroy();
    const send = async () => {
      for (;;) await pack.peer.call("take", [ordinary(100_000)]);
    };
    await expect(send()).rejects.toMatchObject({ code: "PEER_BROKEN" });
    expect(pack.violations).toEqual([]);
  });

  test("a worker that takes no descriptors: an error, and nobody waits for it", async () => {
    const pack = await connect(makeHost({ native }));
    pack.descriptors?.pause();
    const allocate = async () => {
      for (;;) await pack.worker.peer.call("allocate", [1]);
    };
    await expect(allocate()).rejects.toThrow("does not take its descriptors");
    expect(pack.violations).toMatchObject([{ code: "PROTOCOL_VIOLATION" }]);
  });

  test.each([[0], [-1], [0.5], ["1"], [null], [2 ** 53], [undefined]])("allocate of %s bytes", async (nbytes) => {
    const host = makeHost({ native });
    const pack = await connect(host);
    const args = nbytes === undefined ? [] : [nbytes];
    await expect(pack.worker.peer.call("allocate", args)).rejects.toThrow();
    expect(host.stats().segments).toBe(0);
  });

  test("release of ids that are not its own, again and again: ignored", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    const tensor = await host.empty("uint8", [100_000]);
    await pack.peer.call("take", [tensor]);
    const { release, segment } = lastTaken(pack);
    release();
    release();
    pack.worker.peer.release(segment);
    pack.worker.peer.release(segment);
    pack.worker.peer.release(12345);
    await pack.worker.peer.call("allocate", [1]);
    await pack.peer.call("take", [tensor]);
    expect(pack.worker.segments.size).toBe(3);
    expect(tensor.data.byteLength).toBe(100_000);
  });
});

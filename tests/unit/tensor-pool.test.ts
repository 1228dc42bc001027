// The pool: size classes, caps, waiting, and memory that goes back.

import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import type { Transfer } from "../../src/rpc/peer.ts";
import type { Native } from "../../src/tensor/native.ts";
import { sizeClass } from "../../src/tensor/pool.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { type Connected, KiB, MiB, needNative, Said, until, useTensors } from "./tensor-support.ts";

const { makeHost, connect } = useTensors();
let native: Native;
beforeAll(async () => {
  native = await needNative();
});

const exhausted = expect.objectContaining({ code: "SHARED_MEMORY_EXHAUSTED" });
const ordinary = (nbytes: number) => new Tensor("uint8", [nbytes], new Uint8Array(nbytes));
const releaseAll = ({ worker }: Connected) => {
  for (const said of worker.taken) (said as Said).release();
};

test("size classes: from 128 KiB on four a doubling, whole pages, at most a quarter too large", () => {
  expect([1, 128 * KiB, 128 * KiB + 1, 161 * KiB, 225 * KiB, 256 * KiB].map(sizeClass)).toEqual(
    [128, 128, 160, 192, 256, 256].map((kib) => kib * KiB),
  );
  for (let nbytes = 129 * KiB; nbytes < 2 ** 40; nbytes = Math.ceil(nbytes * 1.07)) {
    const size = sizeClass(nbytes);
    expect(size % 4096).toBe(0);
    expect(size).toBeGreaterThanOrEqual(nbytes);
    expect(size / nbytes).toBeLessThanOrEqual(1.25);
  }
});

describe("the program's cap", () => {
  test("a tensor larger than the cap: at once, with figures and a next step", async () => {
    const host = makeHost({ native, totalBytes: MiB, waitMs: 60_000 });
    await expect(host.empty("uint8", [2 * MiB])).rejects.toMatchObject({
      code: "SHARED_MEMORY_EXHAUSTED",
      message: "2097152 bytes of shared memory are needed; of 1048576 in all 0 are in use",
      details: { next: expect.any(String) },
    });
  });

  test("at the cap a request waits for a release, and gets it", async () => {
    const host = makeHost({ native, totalBytes: MiB, waitMs: 60_000 });
    const first = await host.empty("uint8", [800 * KiB]);
    const second = host.empty("uint8", [800 * KiB]);
    await sleep(20);
    first.release();
    expect((await second).data.byteLength).toBe(800 * KiB);
    expect(host.stats().bytes).toBeLessThanOrEqual(MiB);
  });

  test("what fits only without its size class gets whole pages", async () => {
    const host = makeHost({ native, totalBytes: MiB, waitMs: 0 });
    const held = await host.empty("uint8", [300_000]);
    expect((await host.empty("uint8", [700_000])).data.byteLength).toBe(700_000);
    expect(host.stats().bytes).toBe(327_680 + 700_416);
    held.release();
  });

  test("nobody releases: an error after the time to wait", async () => {
    const host = makeHost({ native, totalBytes: MiB, waitMs: 30 });
    const held = await host.empty("uint8", [800 * KiB]);
    await expect(host.empty("uint8", [800 * KiB])).rejects.toEqual(exhausted);
    held.release();
  });

  test("tensors that are garbage make room, unreleased", async () => {
    const host = makeHost({ native, totalBytes: 4 * MiB, waitMs: 60_000 });
    for (let count = 0; count < 40; count += 1) await host.empty("uint8", [MiB]);
    expect(host.stats().bytes).toBeLessThanOrEqual(4 * MiB);
  });

  test("arrays taken from a tensor keep its memory when the tensor is garbage", async () => {
    const host = makeHost({ native, totalBytes: 4 * MiB, waitMs: 60_000 });
    const kept = (await host.empty("uint8", [MiB])).data.subarray(10, 20).fill(9);
    for (let count = 0; count < 20; count += 1) (await host.empty("uint8", [MiB])).data.fill(1);
    expect([...kept]).toEqual(Array(10).fill(9));
  });

  test("warm memory of another domain makes way", async () => {
    const host = makeHost({ native, totalBytes: MiB, waitMs: 60_000 });
    const [one, two] = [await connect(host), await connect(host)];
    for (const pack of [one, two, one]) {
      await pack.peer.call("take", [ordinary(600 * KiB)]);
      releaseAll(pack);
    }
    expect(one.worker.wantedBack.length).toBe(1);
    expect(host.stats().bytes).toBeLessThanOrEqual(MiB);
  });

  test("several tensors of one message that do not fit together: an error, no endless wait", async () => {
    const host = makeHost({ native, totalBytes: 2 * MiB, waitMs: 50 });
    const pack = await connect(host);
    const others = await host.empty("uint8", [MiB]);
    const call = pack.peer.call("take", [ordinary(400 * KiB), ordinary(400 * KiB), ordinary(400 * KiB)]);
    await expect(call).rejects.toEqual(exhausted);
    await pack.peer.call("take", [ordinary(400 * KiB), ordinary(400 * KiB)]);
    others.release();
  });

  test("many calls at once take turns", async () => {
    const host = makeHost({ native, totalBytes: MiB, waitMs: 60_000 });
    const pack = await connect(host);
    const calls = Array.from({ length: 20 }, async () => {
      await pack.peer.call("take", [ordinary(300 * KiB)]);
      (pack.worker.taken.shift() as Said).release();
    });
    await Promise.all(calls);
    expect(host.stats().bytes).toBeLessThanOrEqual(MiB);
  });

  test("a pack that never releases what it is given stops itself, with an error that says so", async () => {
    const host = makeHost({ native, totalBytes: MiB, waitMs: 20 });
    const pack = await connect(host);
    const send = async () => {
      for (;;) await pack.peer.call("take", [ordinary(200 * KiB)]);
    };
    await expect(send()).rejects.toEqual(exhausted);
    await pack.kill();
    expect((await host.empty("uint8", [200 * KiB])).data.byteLength).toBe(200 * KiB);
  });
});

describe("a pack's share", () => {
  const beyondShare = expect.objectContaining({
    code: "SHARED_MEMORY_EXHAUSTED",
    message: expect.stringMatching(/the pack "pack" has \d+ bytes of shared memory; \d+ more .* its share of 3145728/),
  });

  async function fill(pack: Connected): Promise<void> {
    for (;;) await pack.peer.call("take", [ordinary(MiB)]);
  }

  test("what a pack was lent and does not release leaves a quarter to the others", async () => {
    const host = makeHost({ native, totalBytes: 4 * MiB, waitMs: 20 });
    const [greedy, other] = [await connect(host), await connect(host)];
    await expect(fill(greedy)).rejects.toEqual(beyondShare);
    expect(greedy.worker.taken.length).toBe(3);
    await other.peer.call("take", [ordinary(MiB)]);
    releaseAll(greedy);
    releaseAll(other);
    await greedy.peer.call("take", [ordinary(MiB)]);
  });

  test("nor does it get more by releasing what it is lent and not giving back the memory", async () => {
    const host = makeHost({ native, totalBytes: 4 * MiB, waitMs: 20 });
    const [greedy, other] = [await connect(host), await connect(host)];
    greedy.worker.isHonest = false;
    await expect(fill(greedy)).rejects.toEqual(beyondShare);
    releaseAll(greedy);
    await expect(other.peer.call("take", [ordinary(2 * MiB)])).rejects.toEqual(exhausted);
    expect(greedy.worker.wantedBack.length).toBeGreaterThan(0); // and does not come
    await other.peer.call("take", [ordinary(MiB)]);
    await expect(fill(greedy)).rejects.toEqual(beyondShare);
  });

  test("nor by sizes that fit nowhere where others were", async () => {
    const host = makeHost({ native, totalBytes: 4 * MiB, waitMs: 20 });
    const [greedy, other] = [await connect(host), await connect(host)];
    greedy.worker.isHonest = false;
    const fillByRising = async () => {
      for (let nbytes = 600 * KiB; ; nbytes *= 1.2) {
        await greedy.peer.call("take", [ordinary(Math.floor(nbytes))]);
        releaseAll(greedy);
      }
    };
    await expect(fillByRising()).rejects.toEqual(beyondShare);
    await other.peer.call("take", [ordinary(MiB)]);
  });

  test("a pack that lets go is sent tensors of any sizes, one after the other", async () => {
    const host = makeHost({ native, totalBytes: 4 * MiB, waitMs: 1000 });
    const pack = await connect(host);
    for (const nbytes of [3 * MiB, MiB, 2 * MiB, 700 * KiB, 3 * MiB, 300 * KiB, 2.5 * MiB, 3 * MiB, 3 * MiB]) {
      await pack.peer.call("take", [ordinary(nbytes)]);
      releaseAll(pack);
      await pack.worker.peer.call("allocate", [nbytes / 4]);
    }
  });

  test("what it writes and what it was lent count together", async () => {
    const host = makeHost({ native, totalBytes: 4 * MiB, waitMs: 20 });
    const pack = await connect(host);
    pack.worker.isHonest = false;
    await pack.peer.call("take", [ordinary(MiB)]);
    await pack.worker.peer.call("allocate", [2 * MiB]);
    await expect(pack.worker.peer.call("allocate", [MiB])).rejects.toThrow("share of 3145728");
    await expect(pack.peer.call("take", [ordinary(MiB)])).rejects.toEqual(beyondShare);
  });

  test("the same memory lent twice counts once, and what it wrote itself is not lent", async () => {
    const host = makeHost({ native, totalBytes: 4 * MiB, waitMs: 20 });
    const pack = await connect(host);
    const tensor = await host.empty("uint8", [2 * MiB]);
    for (let count = 0; count < 4; count += 1) await pack.peer.call("take", [tensor]);
    const segment = await pack.worker.peer.call("allocate", [MiB]);
    pack.worker.gift = new Said({ dtype: "uint8", shape: [MiB], segment, offset: 0, lease: "new" });
    const result = (await pack.peer.call("give", [])) as Tensor;
    await pack.peer.call("take", [result]);
    await pack.peer.call("take", [tensor, result]);
  });

  test("more than its share at once is refused at once", async () => {
    const host = makeHost({ native, totalBytes: 4 * MiB, waitMs: 60_000 });
    const pack = await connect(host);
    await expect(pack.peer.call("take", [ordinary(3.5 * MiB)])).rejects.toEqual(beyondShare);
    await pack.peer.call("take", [ordinary(3 * MiB)]);
  });
});

describe("a pack's cap", () => {
  test("max_shm bounds what the pack may allocate; the error reaches it", async () => {
    const host = makeHost({ native, waitMs: 20 });
    const pack = await connect(host, { maxShmBytes: MiB });
    const allocate = (nbytes: number) => pack.worker.peer.call("allocate", [nbytes]);
    await expect(allocate(2 * MiB)).rejects.toMatchObject({
      code: "SHARED_MEMORY_EXHAUSTED",
      message: expect.stringMatching(
        "asks for 2097152 bytes of shared memory, has 0 in use, and its max_shm is 1048576",
      ),
    });
    pack.worker.isHonest = false; // it uses what it has
    await allocate(600 * KiB);
    await expect(allocate(600 * KiB)).rejects.toMatchObject({ code: "SHARED_MEMORY_EXHAUSTED" });
    await expect((await connect(host)).worker.peer.call("allocate", [600 * KiB])).resolves.toBeGreaterThan(0);
  });

  test("what the pack does not use any more is asked back first", async () => {
    const host = makeHost({ native, waitMs: 60_000 });
    const pack = await connect(host, { maxShmBytes: MiB });
    const first = await pack.worker.peer.call("allocate", [600 * KiB]);
    await pack.worker.peer.call("allocate", [900 * KiB]);
    expect(pack.worker.wantedBack).toEqual([first]);
  });

  test("results that host code holds count, until they are released", async () => {
    const host = makeHost({ native, waitMs: 60_000 });
    const pack = await connect(host, { maxShmBytes: MiB });
    const segment = await pack.worker.peer.call("allocate", [600 * KiB]);
    pack.worker.gift = new Said({ dtype: "uint8", shape: [9], segment, offset: 0, lease: "new" });
    const result = (await pack.peer.call("give", [])) as Tensor;
    const second = pack.worker.peer.call("allocate", [600 * KiB]);
    await sleep(20);
    expect(pack.worker.wantedBack).toEqual([]);
    result.release();
    expect(await second).not.toBe(segment);
  });
});

describe("giving back", () => {
  test("what nobody uses goes back after the idle time, from both sides", async () => {
    const host = makeHost({ native, idleMs: 40 });
    const pack = await connect(host);
    await pack.peer.call("take", [ordinary(MiB)]);
    await pack.worker.peer.call("allocate", [MiB]);
    releaseAll(pack);
    await until(() => host.stats().segments === 0);
    expect(pack.worker.wantedBack.length).toBe(2);
    await pack.peer.call("take", [ordinary(MiB)]);
    expect(pack.worker.segments.size).toBe(3);
  });

  test("beyond what is kept warm it goes back well before the idle time, the longest unused first", async () => {
    const host = makeHost({ native, idleMs: 600_000, keepBytes: 2 * MiB });
    const [first, second] = [await host.empty("uint8", [1_200_000]), await host.empty("uint8", [1_200_000])];
    second.release();
    await sleep(5);
    first.release();
    expect(host.stats().segments).toBe(2);
    await until(() => host.stats().segments === 1);
    expect(host.stats().warmBytes).toBeLessThanOrEqual(2 * MiB);
  });

  test("a segment in use stays, however long", async () => {
    const host = makeHost({ native, idleMs: 20 });
    const pack = await connect(host);
    await pack.peer.call("take", [ordinary(MiB)]);
    await sleep(100);
    expect(pack.worker.wantedBack).toEqual([]);
    releaseAll(pack);
    await until(() => host.stats().segments === 0);
  });

  test("memory that a pack does not give back counts until the pack ends", async () => {
    const host = makeHost({ native, idleMs: 20 });
    const pack = await connect(host);
    pack.worker.isHonest = false;
    await pack.peer.call("take", [ordinary(MiB)]);
    releaseAll(pack);
    await until(() => pack.worker.wantedBack.length === 1);
    expect(host.stats().bytes).toBe(MiB);
    await pack.kill();
    await until(() => host.stats().bytes === 0);
  });

  test("a killed pack leaves nothing but what is kept warm", async () => {
    const host = makeHost({ native, keepBytes: 0 });
    const pack = await connect(host);
    await pack.peer.call("take", [ordinary(MiB)]);
    const segment = await pack.worker.peer.call("allocate", [MiB]);
    pack.worker.gift = new Said({ dtype: "uint8", shape: [MiB], segment, offset: 0, lease: "new" });
    const result = (await pack.peer.call("give", [])) as Tensor;
    await pack.kill();
    result.release();
    await until(() => host.stats().bytes === 0);
  });

  test("a group member's copy is asked back, too, and attached anew if the tensor is sent there again", async () => {
    const host = makeHost({ native, idleMs: 20 });
    const domain = host.domain();
    const [writer, reader] = [await connect(host, { domain }), await connect(host, { domain })];
    const segment = await writer.worker.peer.call("allocate", [MiB]);
    const result = new Said({ dtype: "uint8", shape: [MiB], segment, offset: 0, lease: "new" });
    writer.worker.gift = result;
    writer.worker.isHonest = false; // still works with it
    for (let round = 1; round <= 2; round += 1) {
      const tensor = (await writer.peer.call("give", [])) as Tensor;
      await reader.peer.call("take", [tensor]);
      tensor.release();
      releaseAll(reader);
      await until(() => reader.worker.wantedBack.length === round);
    }
    expect(writer.worker.wantedBack).toEqual([segment]);
    writer.worker.peer.release(segment as number);
    await until(() => host.stats().segments === 0);
  });

  test("a segment that was asked back is sent anew, under another number, though the reader did not answer yet", async () => {
    const host = makeHost({ native, idleMs: 20 });
    const domain = host.domain();
    const [writer, reader] = [await connect(host, { domain }), await connect(host, { domain })];
    const segment = await writer.worker.peer.call("allocate", [MiB]);
    writer.worker.gift = new Said({ dtype: "uint8", shape: [MiB], segment, offset: 0, lease: "new" });
    writer.worker.isHonest = false;
    reader.worker.isHonest = false;
    const numbers: number[] = [];
    for (let round = 1; round <= 2; round += 1) {
      const tensor = (await writer.peer.call("give", [])) as Tensor;
      await reader.peer.call("take", [tensor]);
      numbers.push((reader.worker.taken.at(-1) as Said).segment);
      if (round === 2) {
        reader.worker.peer.release(numbers[0] as number);
        await reader.worker.peer.call("allocate", [1]);
        await reader.peer.call("take", [tensor]);
        expect((reader.worker.taken.at(-1) as Said).segment).toBe(numbers[1]);
      }
      tensor.release();
      releaseAll(reader);
      await until(() => reader.worker.wantedBack.includes(numbers.at(-1) as number));
    }
    expect(new Set(numbers).size).toBe(2);
  });

  test("close gives back what is idle at once, and what is in use when it is released", async () => {
    const host = makeHost({ native });
    const [one, two] = [await host.empty("uint8", [MiB]), await host.empty("uint8", [MiB])];
    one.release();
    host.close();
    expect(host.stats().segments).toBe(1);
    expect(two.data.fill(1).byteLength).toBe(MiB);
    two.release();
    expect(host.stats()).toMatchObject({ segments: 0, bytes: 0 });
    await expect(host.empty("uint8", [MiB])).rejects.toEqual(exhausted);
  });
});

describe("snapshots", () => {
  async function result(pack: Connected, nbytes: number): Promise<Tensor> {
    const segment = await pack.worker.peer.call("allocate", [nbytes]);
    pack.worker.gift = new Said({ dtype: "uint8", shape: [nbytes], segment, offset: 0, lease: "new" });
    return (await pack.peer.call("give", [])) as Tensor;
  }

  test("they go into warm memory of the pool", async () => {
    const host = makeHost({ native });
    const pack = await connect(host);
    await pack.peer.call("take", [ordinary(MiB)]);
    releaseAll(pack);
    await until(() => host.stats().warmBytes === MiB);
    const tensor = await result(pack, MiB);
    const before = host.stats();
    expect(tensor.data.byteLength).toBe(MiB);
    expect(host.stats()).toMatchObject({ segments: before.segments, snapshotBytes: MiB, warmBytes: MiB });
    tensor.release();
    expect(host.stats().warmBytes).toBe(2 * MiB);
  });

  test("best into memory that no pack has seen: then any pack gets it without a copy", async () => {
    const host = makeHost({ native });
    const [pack, other] = [await connect(host), await connect(host)];
    (await host.empty("uint8", [MiB])).release();
    const tensor = await result(pack, MiB);
    expect(tensor.data.byteLength).toBe(MiB);
    const moved: Transfer = { bytesCopied: 0, routes: [] };
    await other.peer.call("take", [tensor], { transfer: moved });
    expect(moved).toEqual({ bytesCopied: 0, routes: ["descriptor"] });
  });

  test("into ordinary memory when more than half of the pool is in use; no call fails for it", async () => {
    const host = makeHost({ native, totalBytes: 8 * MiB });
    const pack = await connect(host);
    await pack.peer.call("take", [ordinary(MiB)]);
    releaseAll(pack);
    await until(() => host.stats().warmBytes === MiB);
    const tensors = [];
    for (let count = 0; count < 5; count += 1) tensors.push(await result(pack, MiB));
    expect(tensors[0]?.data.byteLength).toBe(MiB);
    await pack.peer.call("take", []); // its lease is released
    expect(host.stats()).toMatchObject({ segments: 6, bytes: 6 * MiB, warmBytes: 2 * MiB, snapshotBytes: MiB });
  });
});

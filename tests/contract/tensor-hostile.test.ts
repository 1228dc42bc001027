// Attacks on tensors from inside a real pack in a real container, whose node reaches into its worker. After each the host
// lives, the other packs go on and nothing is left. Controls: the same attack succeeds where the protection is weaker.

import { chmodSync, readdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ExtensionManager } from "../../src/index.ts";
import type { Value } from "../../src/rpc/values.ts";
import type { HostTensors } from "../../src/tensor/host.ts";
import { SEAL } from "../../src/tensor/native.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import {
  digest,
  type HostileBench,
  type HostilePack,
  hostilePack,
  MiB,
  nativeWithSeals,
  openHostileBench,
  ordinary,
} from "./tensor-hostile-bench.ts";

let bench: HostileBench;
let host: HostTensors;
/** A pack that has nothing to do with any attack. */
let bystander: HostilePack;

beforeAll(async () => {
  bench = await openHostileBench();
});
afterAll(() => bench.close());
beforeEach(async () => {
  host = await bench.host();
  bystander = await bench.start(host, { name: "bystander" });
});
afterEach(async () => {
  await goesOn(bystander);
  expect(await bench.sweep()).toEqual([]);
});

/** It still gets tensors and gives some. */
async function goesOn(pack: HostilePack): Promise<void> {
  const x = ordinary(5);
  expect(await pack.run("digest(x)", x)).toBe(digest(x));
  expect(digest(await pack.run("x + 0", x))).toBe(digest(x));
}

/** A tensor in shared memory, all bytes the same. */
async function sharedTensor(fill: number, nbytes = MiB): Promise<Tensor> {
  const tensor = await host.empty("uint8", [nbytes]);
  tensor.data.fill(fill);
  return tensor;
}

describe("what a pack says of its tensors", () => {
  async function refused(code: string, pack?: HostilePack, x: Value = null): Promise<void> {
    const attacker = pack ?? (await bench.start(host));
    await expect(attacker.run(code, x)).rejects.toMatchObject({ code: "PROTOCOL_VIOLATION" });
    expect((await attacker.peer.closed)?.code).toBe("PROTOCOL_VIOLATION");
  }
  const lie = (fields: string) => `Lie(**place_of(keep("own", pyisolate.empty((MiB,), "uint8")), ${fields}))`;

  test("control: the same by the same way, but true, arrives", async () => {
    const attacker = await bench.start(host);
    expect(await attacker.run('keep("own", pyisolate.empty((MiB,), "uint8")).fill(7)')).toBe(null);
    expect(digest(await attacker.run('Lie(**place_of(kept["own"]))'))).toBe(digest(ordinary(7)));
    const x = ordinary(8);
    expect(digest(await attacker.run('Lie(**place_of(keep("x", x)))', x))).toBe(digest(x));
    expect(
      (await attacker.run(lie('dtype="complex128", shape=[65_536], strides=[-1], offset=1_048_560'))) as Tensor,
    ).toMatchObject({ nbytes: MiB });
  });

  test.each([
    ["a count beyond any memory", 'dtype="float64", shape=[2**53 - 1]'],
    ["counts whose product wraps to 0 in 64 bits", "shape=[2**32, 2**32]"],
    ["an offset that wraps in 64 bits", "shape=[1], offset=2**64 - 1"],
    ["an offset beyond the end", "shape=[1], offset=1 << 30"],
    ["strides that wrap in 64 bits", "shape=[5], strides=[2**62]"],
    ["strides that lead before the start", "shape=[2], strides=[-1]"],
    ["a larger dtype on the same shape", 'dtype="complex128"'],
    ["a dtype whose elements do not lie so", 'dtype="float32", shape=[1], offset=2'],
    ["a dtype that is a name of Python", 'dtype="object"'],
  ])("%s", async (_name, fields) => {
    await refused(lie(fields));
  });

  test.each([
    ["one after another", "[Lie(**{**PLACE, 'segment': number}) for number in range(2, 200)]"],
    ["one far off", "Lie(**{**PLACE, 'segment': 2**32 - 1})"],
    ["below 0", "Lie(**{**PLACE, 'segment': -1})"],
  ])("numbers of segments, guessed: %s", async (_name, guess) => {
    const place = '{"dtype": "uint8", "shape": [1], "offset": 0, "lease": None}';
    await bystander.run('keep("x", x).nbytes', ordinary(1)); // somebody else has segments of those numbers
    await refused(guess.replaceAll("PLACE", place));
    await bystander.run("kept.clear()");
  });

  test("the segment of another pack of its group, by its right number", async () => {
    const domain = host.domain();
    const [attacker, friend] = [await bench.start(host, { domain }), await bench.start(host, { domain })];
    const place = (await friend.run('place_of(keep("x", x))', ordinary(1))) as Record<string, Value>;
    await refused(`Lie(**{**${JSON.stringify(place).replace("null", "None")}, "lease": None})`, attacker);
    await goesOn(friend);
  });

  test("a segment of its own that it has given back", async () => {
    const attacker = await bench.start(host);
    await attacker.run('keep("place", place_of(keep("own", pyisolate.empty((MiB,), "uint8"))))');
    await attacker.run('release(kept["place"]["segment"])');
    await refused('Lie(**kept["place"])', attacker);
  });

  test("an input whose lease it has released", async () => {
    const attacker = await bench.start(host);
    await attacker.run('[keep("place", place_of(keep("x", x))), release(came[-1]["lease"])][:0]', ordinary(1));
    await refused('Lie(**kept["place"])', attacker);
  });

  test("one lease for two tensors, and one that is live since an earlier call", async () => {
    await refused(`[keep("lie", ${lie("lease=77")}), kept["lie"]]`);
    const attacker = await bench.start(host);
    const result = await attacker.run(lie("lease=77"));
    await refused(lie("lease=77"), attacker);
    expect((result as Tensor).data.byteLength).toBe(MiB);
  });
});

describe("releases", () => {
  const flood = "release(*range(1, 5000), *range(1, 5000))";

  /** The digests of what `holder` keeps, before and after `releaser` released all there is and the host went on. */
  async function heldWhile(holder: HostilePack, releaser: HostilePack): Promise<readonly Value[]> {
    const x = await sharedTensor(1);
    const before = await holder.run('digest(keep("x", x))', x);
    await releaser.run("x.nbytes", x);
    await releaser.run(flood);
    await releaser.run("1"); // the releases came before this
    x.release();
    await holder.run("digest(x)", ordinary(2));
    return [before, await holder.run('digest(kept["x"])')];
  }

  test("of every id there is, twice: what other packs of its group were lent stays as it is", async () => {
    const domain = host.domain();
    const [attacker, friend] = [await bench.start(host, { domain }), await bench.start(host, { domain })];
    const [before, after] = await heldWhile(friend, attacker);
    expect(after).toBe(before);
    await friend.run("kept.clear()");
    await goesOn(friend);
  });

  test("control: of its own ids, by the pack that keeps it, it shows the next tensor", async () => {
    const careless = await bench.start(host);
    const [before, after] = await heldWhile(careless, careless);
    expect(after).not.toBe(before);
  });

  test("of the segments it writes: what the host was given stays, and shows in no other tensor", async () => {
    const attacker = await bench.start(host);
    const result = await attacker.run('keep("own", pyisolate.empty((MiB,), "uint8").__imul__(0).__iadd__(7))');
    await attacker.run(flood);
    await bystander.run("digest(x)", ordinary(9));
    expect(await bystander.run("digest(x)", result)).toBe(digest(ordinary(7)));
    expect(digest(result)).toBe(digest(ordinary(7)));
  });
});

/** What a pack may try with the descriptor `d` of a segment. */
const attacks: readonly [string, string][] = [
  ["map it to write", "scrawl(d)"],
  ["write", 'os.pwrite(d, b"evil", 0)'],
  ["punch a hole", "punch(d)"],
  ["cut", "cut(d)"],
  ["grow", "os.ftruncate(d, 1 << 30)"],
];
const attackOn = (array: string, attack: string) => `[${attack} for d in [segment_of(${array}).descriptor]]`;
const isRefused = expect.stringMatching(/^(PermissionError|OSError)$/);

describe("the memory of an input", () => {
  test.each([
    ...attacks,
    ["open it again and write", "scrawl(again(d))"],
    ["add a seal", '__import__("fcntl").fcntl(d, 1033, 8)'],
  ])("a pack cannot %s", async (_name, attack) => {
    const attacker = await bench.start(host);
    const x = await sharedTensor(1);
    expect(await attacker.run(attackOn("x", attack), x)).toEqual(isRefused);
    expect(digest(x)).toBe(digest(ordinary(1)));
    await goesOn(attacker);
  });

  test("control: without the seal against writing it can write, without any seal all of it", async () => {
    for (const [seals, isCut] of [
      [SEAL.seal | SEAL.shrink | SEAL.grow, false],
      [0, true],
    ] as const) {
      host = await bench.host({ native: await nativeWithSeals(seals) });
      const attacker = await bench.start(host);
      for (const [name, attack] of attacks) {
        const x = await sharedTensor(1);
        const answer = await attacker.run(attackOn("x", attack), x);
        const isDone = isCut || !["cut", "grow"].includes(name);
        expect({ name, answer }).toEqual({ name, answer: isDone ? expect.any(Array) : isRefused });
        expect(digest(x) === digest(ordinary(1))).toBe(!isDone || name === "grow");
      }
    }
  });

  test("what a pack writes into its input shows in no other pack, and not in the next tensor of that segment", async () => {
    const domain = host.domain();
    const [attacker, friend] = [await bench.start(host, { domain }), await bench.start(host, { domain })];
    const x = await sharedTensor(1);
    await friend.run('keep("x", x).nbytes', x);
    const number = await attacker.run('[x.fill(66), keep("number", segment_of(x).number)][1]', x);
    expect(await friend.run('digest(kept["x"])')).toBe(digest(x));
    await friend.run("kept.pop('x').nbytes");
    await friend.run("1");
    x.release();
    const next = ordinary(3);
    expect(await attacker.run("[segment_of(x).number, digest(x)]", next)).toEqual([number, digest(next)]);
    expect(await friend.run("digest(x)", next)).toBe(digest(next));
  });

  test("a private mapping that the pack keeps beyond its lease is its own affair", async () => {
    const attacker = await bench.start(host);
    await attacker.run('keep("m", mmap.mmap(segment_of(x).descriptor, 0, access=mmap.ACCESS_COPY))[0]', ordinary(1));
    await attacker.run('kept["m"].write(b"evil")');
    const next = ordinary(3);
    expect(await attacker.run("digest(x)", next)).toBe(digest(next));
  });
});

describe("the memory of a result", () => {
  const result = 'keep("own", pyisolate.empty((MiB,), "uint8").__imul__(0).__iadd__(1))';
  const scribble = 'forever(lambda: kept["own"].__iadd__(1))';

  test.each(attacks.slice(3))("its pack cannot %s it", async (_name, attack) => {
    const attacker = await bench.start(host);
    const tensor = await attacker.run(result);
    expect(await attacker.run(attackOn('kept["own"]', attack))).toEqual(isRefused);
    expect(digest(tensor)).toBe(digest(ordinary(1)));
  });

  test("control: without seals it can", async () => {
    host = await bench.host({ native: await nativeWithSeals(0) });
    const attacker = await bench.start(host);
    const tensor = await attacker.run(result);
    for (const [, attack] of attacks.slice(3)) {
      expect(await attacker.run(attackOn('kept["own"]', attack))).toEqual(expect.any(Array));
    }
    expect(digest(tensor)).toBe(digest(ordinary(0)));
  });

  test.each(attacks)("another pack of its group cannot %s", async (_name, attack) => {
    const domain = host.domain();
    const [writer, attacker] = [await bench.start(host, { domain }), await bench.start(host, { domain })];
    const tensor = await writer.run(result);
    expect(await attacker.run(attackOn("x", attack), tensor)).toEqual(isRefused);
    expect(digest(tensor)).toBe(digest(ordinary(1)));
  });

  test.each([
    ["written", scribble],
    ["holed", 'forever(lambda: [kept["own"].fill(2), punch(segment_of(kept["own"]).descriptor)])'],
  ])("while it is %s all the time the host sees one content only", async (_how, attack) => {
    const attacker = await bench.start(host);
    const tensor = (await attacker.run(result)) as Tensor;
    await attacker.run(attack);
    const seen = digest(tensor);
    for (let turn = 0; turn < 10; turn += 1) {
      await delay(10);
      expect(digest(tensor)).toBe(seen);
    }
    const there = await bystander.run("digest(x)", tensor);
    expect(there).toBe(seen);
  });

  test("control: where the policy trusts its memory the host sees it change", async () => {
    const attacker = await bench.start(host, { trustMemory: true });
    const tensor = await attacker.run(result);
    await attacker.run(scribble);
    const seen = digest(tensor);
    while (digest(tensor) === seen) await delay(5); // the test's own time limit is the end of it
    await attacker.stop();
  });

  /** Whether what another pack got changes when the writer writes after handing over. */
  async function changesLater(writer: HostilePack, reader: HostilePack): Promise<boolean> {
    const tensor = await writer.run(result);
    const before = await reader.run('digest(keep("x", x))', tensor);
    await writer.run('kept["own"].fill(9)');
    const after = await reader.run('digest(kept["x"])');
    const isChanged = after !== before;
    if (!isChanged) expect(digest(tensor)).toBe(before);
    await reader.run("kept.clear()");
    return isChanged;
  }

  test("written after handing over: neither the host nor a pack outside the group sees it", async () => {
    const attacker = await bench.start(host);
    expect(await changesLater(attacker, bystander)).toBe(false);
    const tensor = await attacker.run(result);
    expect(digest(tensor)).toBe(digest(ordinary(1)));
    await attacker.run('kept["own"].fill(9)');
    expect(digest(tensor)).toBe(digest(ordinary(1)));
  });

  test("control: a pack of its group does see it", async () => {
    const domain = host.domain();
    const [writer, reader] = [await bench.start(host, { domain }), await bench.start(host, { domain })];
    expect(await changesLater(writer, reader)).toBe(true);
  });

  test("read after its pack let go of it and was killed: it is there, and nothing is left", async () => {
    const attacker = await bench.start(host);
    const tensor = (await attacker.run(result)) as Tensor;
    await attacker.stop();
    expect(digest(tensor)).toBe(digest(ordinary(1)));
    tensor.release();
    expect(() => tensor.data).toThrowError(expect.objectContaining({ code: "TENSOR_RELEASED" }));
  });
});

describe("never letting go", () => {
  async function untilRefused(act: () => Promise<unknown>): Promise<unknown> {
    for (let turn = 0; turn < 20; turn += 1) {
      try {
        await act();
      } catch (error) {
        return error;
      }
    }
    return "never refused";
  }

  test("of results: the pack gets no more than its max_shm, and is told so", async () => {
    const attacker = await bench.start(host);
    const more = 'keep(len(kept), pyisolate.empty((4 * MiB,), "uint8")).nbytes';
    expect(await untilRefused(() => attacker.run(more))).toMatchObject({
      message: expect.stringMatching(/max_shm is 16777216/),
    });
    expect(host.stats().bytes).toBeLessThan(20 * MiB);
    await goesOn(bystander);
    await attacker.run("kept.clear()");
    await goesOn(attacker);
  });

  test.each([
    ["inputs", "keep(len(kept), x).nbytes"],
    [
      "the memory of inputs, whose leases it releases",
      "[never_give_back(), keep(len(kept), x), release(came[-1]['lease'])][:0]",
    ],
  ])("of %s: it gets no more than its share, and the others have the rest", async (_what, code) => {
    host = await bench.host({ totalBytes: 16 * MiB });
    const [attacker, other] = [await bench.start(host, { name: "greedy" }), await bench.start(host)];
    let sizeBytes = MiB; // never one that fits where another was
    const error = await untilRefused(() => {
      sizeBytes *= 1.25;
      return attacker.run(code, ordinary(1, Math.floor(sizeBytes)));
    });
    expect(error).toMatchObject({
      code: "SHARED_MEMORY_EXHAUSTED",
      message: expect.stringMatching(/"greedy" has \d+/),
    });
    for (let turn = 0; turn < 5; turn += 1) await goesOn(other);
  });
});

describe("sockets", () => {
  test("a byte on the descriptor socket ends the pack, and no other", async () => {
    await using manager = new ExtensionManager();
    const [attacker, other] = [await manager.loadExtension(hostilePack), await manager.loadExtension(hostilePack)];
    const run = async (code: string) => (await attacker.executeNode("Run", { code })).outputs[0];
    expect(await run('keep("own", pyisolate.empty((MiB,), "uint8")).nbytes')).toBe(MiB);
    const slow = attacker.executeNode("Run", { code: '__import__("time").sleep(60)' });
    const byte = 'tensors._descriptors._connection.send(b"x")';
    await Promise.allSettled([attacker.executeNode("Run", { code: byte })]);
    await expect(slow).rejects.toMatchObject({
      code: "PROTOCOL_VIOLATION",
      message: expect.stringMatching(/pack "hostile".* a byte on the descriptor socket/),
    });
    expect((await attacker.closed).code).toBe("PROTOCOL_VIOLATION");
    await expect(run("1")).rejects.toMatchObject({ code: "PROTOCOL_VIOLATION" });
    expect(manager.list()).toEqual([other]);
    const x = ordinary(4);
    expect((await other.executeNode("Run", { code: "digest(x)", x })).outputs).toEqual([digest(x)]);
  });

  test.each(["control.sock", "segments.sock"])("nobody dials %s a second time from inside", async (name) => {
    const attacker = await bench.start(host);
    expect(await attacker.run(`dial("${name}")`)).toBe("FileNotFoundError");
    await goesOn(attacker);
  });

  test("control: a socket that is there can be dialled from inside", async () => {
    const before = new Set(readdirSync(bench.ownerDirectory));
    const attacker = await bench.start(host);
    const [directory = ""] = readdirSync(bench.ownerDirectory).filter((name) => !before.has(name));
    const server = createServer((connection) => connection.destroy());
    const path = join(bench.ownerDirectory, directory, "third.sock");
    await new Promise<void>((resolve) => server.listen({ path, readableAll: true, writableAll: true }, resolve));
    expect(await attacker.run('dial("third.sock")')).toBe("connected");
    server.close();
  });
});

describe("by path", () => {
  const file = (array: string) => `os.path.realpath("/proc/self/fd/%d" % segment_of(${array}).descriptor)`;
  const own = 'keep("own", pyisolate.empty((MiB,), "uint8").__imul__(0).__iadd__(1))';
  /** PATH is the file, D its descriptor. */
  const writes: readonly [string, string][] = [
    ["write", 'os.pwrite(os.open(PATH, os.O_RDWR), b"evil", 0)'],
    ["write through its descriptor", 'os.pwrite(D, b"evil", 0)'],
    ["map it to write", "scrawl(os.open(PATH, os.O_RDWR))"],
    ["cut", "os.truncate(PATH, 0)"],
    ["punch a hole", "punch(D)"],
    ["change its mode", "os.chmod(PATH, 0o666)"],
    ["remove", "os.unlink(PATH)"],
  ];
  const on = (array: string, attack: string) =>
    attack
      .replaceAll("PATH", file(array))
      .replaceAll("D,", `segment_of(${array}).descriptor,`)
      .replace("(D)", `(segment_of(${array}).descriptor)`);

  test.each(writes)("what the host wrote no pack can: %s", async (_name, attack) => {
    const attacker = await bench.start(host, { route: "path" });
    const x = ordinary(1);
    await attacker.run('keep("x", x).nbytes', x);
    expect(await attacker.run(on('kept["x"]', attack))).toEqual(isRefused);
    expect(await attacker.run('digest(kept["x"])')).toBe(digest(x));
    await goesOn(attacker);
  });

  test("control: a file that is open to all it can write", async () => {
    const attacker = await bench.start(host, { route: "path" });
    await attacker.run('keep("x", x).nbytes', ordinary(1));
    const directory = attacker.container.segmentsDirectory as string;
    for (const name of readdirSync(directory)) chmodSync(join(directory, name), 0o666);
    expect(await attacker.run(on('kept["x"]', writes[0]?.[1] ?? ""))).toBe(4);
    expect(await attacker.run('digest(kept["x"])')).not.toBe(digest(ordinary(1)));
  });

  test("a result whose file was cut: TENSOR_INVALID for who looks, and nobody ends", async () => {
    const attacker = await bench.start(host, { route: "path" });
    const tensors = [(await attacker.run(own)) as Tensor, (await attacker.run('kept["own"]')) as Tensor];
    expect(await attacker.run(on('kept["own"]', "os.ftruncate(D, 0)"))).toBe(null);
    expect(() => tensors[0]?.data).toThrowError(expect.objectContaining({ code: "TENSOR_INVALID" }));
    await expect(bystander.run("x.nbytes", tensors[1] as Tensor)).rejects.toMatchObject({ code: "TENSOR_INVALID" });
    for (const tensor of tensors) tensor.release();
    await goesOn(attacker);
  });

  test("a result written while and after the host looks does not change there", async () => {
    const attacker = await bench.start(host, { route: "path" });
    const tensor = (await attacker.run(own)) as Tensor;
    await attacker.run('forever(lambda: kept["own"].__iadd__(1))');
    const seen = digest(tensor);
    await delay(50);
    expect(digest(tensor)).toBe(seen);
  });
});

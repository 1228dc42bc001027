// Leases and segments: when they end, and who is told. Over real sockets, with an extension whose values are leases.

import { describe, expect, test } from "vitest";
import { PyisolateError } from "../../src/errors.ts";
import { encodeHead } from "../../src/rpc/frame.ts";
import { KINDS } from "../../src/rpc/kinds.ts";
import type { ExtensionValue, Segment, Value, ValueExtension } from "../../src/rpc/values.ts";
import { deferred, errorOf, framesOf, useSockets } from "./rpc-support.ts";

const { openPeers, openAgainstBytes } = useSockets();

/** A value that travels as nothing but a lease. */
class Thing implements ExtensionValue {
  readonly wireTag = "$thing";
  readonly release: () => void;
  constructor(release: () => void = () => {}) {
    this.release = release;
  }
}

/** Counts the leases it opened by what ended; what it received is released by the test. */
class Things implements ValueExtension {
  opened = 0;
  ended = 0;
  readonly received: Thing[] = [];
  prepare?: (values: readonly Value[]) => Promise<void> | undefined;
  readonly segments: [number, Segment][] = [];
  readonly wantedBack: number[] = [];

  encode: ValueExtension["encode"] = (value, sink) => {
    if (!(value instanceof Thing)) return undefined;
    this.opened += 1;
    sink.copied(5, "route");
    return {
      tag: "$thing",
      payload: sink.lease(() => {
        this.ended += 1;
      }),
    };
  };
  decode: ValueExtension["decode"] = (tag, payload, source) => {
    if (tag !== "$thing") return undefined;
    const thing = new Thing(source.hold(payload));
    this.received.push(thing);
    return thing;
  };
  onAttach = (id: number, segment: Segment) => void this.segments.push([id, segment]);
  onGiveBack = (id: number) => void this.wantedBack.push(id);
}

const keep = () => null;

describe("leases", () => {
  test("live until the receiver releases them, which may be repeated", async () => {
    const [near, far] = [new Things(), new Things()];
    const peers = await openPeers({ extension: near }, { extension: far, methods: { keep } });
    const transfer = { bytesCopied: 0, routes: [] };
    await peers.near.call("keep", [[new Thing(), new Thing()]], { transfer });
    expect([near.opened, near.ended, transfer]).toEqual([2, 0, { bytesCopied: 10, routes: ["route"] }]);
    for (const thing of far.received) for (let time = 0; time < 3; time += 1) thing.release();
    await expect.poll(() => near.ended).toBe(2);
    far.received.length = 0;
    await peers.near.call("keep", [new Thing()]);
    expect(near.ended).toBe(2);
  });

  test("travel in results and events, too", async () => {
    const [near, far] = [new Things(), new Things()];
    const peers = await openPeers(
      { extension: near },
      {
        extension: far,
        methods: {
          give: (_args, { event }) => {
            event("preview", new Thing());
            return [new Thing()];
          },
        },
      },
    );
    const seen: Value[] = [];
    const value = await peers.near.call("give", [], { onEvent: (_name, data) => seen.push(data) });
    expect([seen[0], (value as Value[])[0]]).toEqual([expect.any(Thing), expect.any(Thing)]);
    for (const thing of near.received) thing.release();
    await expect.poll(() => far.ended).toBe(2);
  });

  test("take ids from the counter of calls, which skips those that are live", async () => {
    const { peer, received, socket } = await openAgainstBytes({ extension: new Things() });
    for (let index = 0; index < 2; index += 1) peer.call("keep", [new Thing()]).catch(() => {});
    await expect.poll(() => framesOf(received()).length).toBe(3);
    expect(framesOf(received()).slice(1)).toMatchObject([
      { id: 2, body: '{"method":"keep","args":[{"$thing":1}]}' },
      { id: 4, body: '{"method":"keep","args":[{"$thing":3}]}' },
    ]);
    socket.destroy();
    await peer.closed;
  });

  test.each<[string, (things: Things) => Value]>([
    ["another value has no wire form", () => [new Thing(), (() => 0) as unknown as Value]],
    ["the attachments are too long for the other side", () => [new Thing(), new Uint8Array(1000)]],
    ["the text is too long", () => [new Thing(), "x".repeat(2 ** 24)]],
  ])("end at once when the message is not sent: %s", async (_name, make) => {
    const [near, far] = [new Things(), new Things()];
    const give = () => make(far);
    const limits = { messageBytes: 100 };
    const peers = await openPeers({ extension: near, limits }, { extension: far, limits, methods: { keep, give } });
    expect((await errorOf(peers.near.call("keep", [make(near)]))).code).toBe("VALUE_UNSUPPORTED");
    expect((await errorOf(peers.near.call("give", []))).code).toBe("VALUE_UNSUPPORTED");
    expect([near.opened, near.ended, far.opened, far.ended]).toEqual([1, 1, 1, 1]);
  });

  test("end when the call is cancelled while it waits for its turn", async () => {
    const near = new Things();
    const wait = deferred<Value>();
    const peers = await openPeers({ extension: near }, { limits: { calls: 1 }, methods: { wait: () => wait.promise } });
    const first = peers.near.call("wait", []);
    const second = peers.near.call("wait", [new Thing()], { timeoutMs: 20 });
    expect((await errorOf(second)).code).toBe("CALL_TIMEOUT");
    expect([near.opened, near.ended]).toEqual([1, 1]);
    wait.resolve(0);
    await first;
  });

  test("end once when the connection ends, and later releases do nothing", async () => {
    const [near, far] = [new Things(), new Things()];
    const peers = await openPeers({ extension: near }, { extension: far, methods: { keep } });
    await peers.near.call("keep", [new Thing()]);
    peers.far.close();
    await peers.near.closed;
    expect(near.ended).toBe(1);
    for (const thing of far.received) thing.release();
    expect(near.ended).toBe(1);
  });

  test("of a result that nobody waits for are released at once", async () => {
    const [near, far] = [new Things(), new Things()];
    const wait = deferred<Value>();
    const peers = await openPeers({ extension: near }, { extension: far, methods: { wait: () => wait.promise } });
    await errorOf(peers.near.call("wait", [], { timeoutMs: 20 }));
    wait.resolve([new Thing(), new Thing()]);
    await expect.poll(() => far.ended).toBe(2);
  });

  test.each<[string, string]>([
    ["0", '{"$thing":0}'],
    ["beyond 2^32 - 1", '{"$thing":4294967296}'],
    ["no integer", '{"$thing":1.5}'],
    ["text", '{"$thing":"1"}'],
    ["true", '{"$thing":true}'],
    ["the id of the call itself", '{"$thing":1}'],
    ["one that is held", '{"$thing":9},{"$thing":9}'],
  ])("with an id that cannot be one are refused: %s", async (_name, args) => {
    const { peer, socket } = await openAgainstBytes({ extension: new Things(), methods: { keep } });
    const text = `{"method":"keep","args":[${args}]}`;
    socket.write(encodeHead("call", 0, 1, text, 0));
    expect((await peer.closed)?.code).toBe("PROTOCOL_VIOLATION");
  });

  test("an id that was released may come again", async () => {
    const things = new Things();
    const { peer, socket, received } = await openAgainstBytes({ extension: things, methods: { keep } });
    for (let id = 1; id <= 2; id += 1) {
      socket.write(encodeHead("call", 0, id, '{"method":"keep","args":[{"$thing":9}]}', 0));
      await expect.poll(() => things.received.length).toBe(id);
      things.received[id - 1]?.release();
    }
    things.received[0]?.release();
    await expect.poll(() => framesOf(received()).filter(({ kind }) => kind === KINDS.release.number).length).toBe(2);
    peer.close();
  });
});

describe("prepare", () => {
  /** An extension that lets values go one by one, when the test says so. */
  function gated() {
    const things = new Things();
    const gates: (() => void)[] = [];
    let isOpen = false;
    things.prepare = (values) => {
      if (isOpen || !JSON.stringify(values).includes("wait")) return undefined;
      return new Promise((resolve) => gates.push(resolve));
    };
    const open = () => {
      isOpen = true;
      for (const gate of gates.splice(0)) gate();
    };
    return { things, gates, open };
  }

  test("holds calls and results back until it says undefined, asking again each time", async () => {
    const [near, far] = [gated(), gated()];
    const peers = await openPeers(
      { extension: near.things },
      { extension: far.things, methods: { echo: ([value]) => value ?? null } },
    );
    const call = peers.near.call("echo", ["wait"]);
    expect(await peers.near.call("echo", ["other"])).toBe("other");
    near.gates.shift()?.();
    await expect.poll(() => near.gates.length).toBe(1); // it was asked a second time
    near.open();
    await expect.poll(() => far.gates.length).toBe(1);
    expect(await peers.near.call("echo", ["other"])).toBe("other");
    far.open();
    expect(await call).toBe("wait");
  });

  test("that rejects gives the caller its error, on either side", async () => {
    const refuse = () => Promise.reject(new PyisolateError("SHARED_MEMORY_EXHAUSTED", "no more"));
    const near = new Things();
    const far = new Things();
    const peers = await openPeers({ extension: near }, { extension: far, methods: { keep } });
    near.prepare = refuse;
    expect(await errorOf(peers.near.call("keep", []))).toMatchObject({ code: "SHARED_MEMORY_EXHAUSTED" });
    near.prepare = () => {
      throw new PyisolateError("TENSOR_RELEASED", "gone");
    };
    expect(await errorOf(peers.near.call("keep", []))).toMatchObject({ code: "TENSOR_RELEASED" });
    near.prepare = () => undefined;
    far.prepare = refuse;
    expect(await errorOf(peers.near.call("keep", []))).toMatchObject({ code: "SHARED_MEMORY_EXHAUSTED" });
    far.prepare = near.prepare;
    expect(await peers.near.call("keep", [])).toBe(null);
  });

  test("does not outlive the call: its time limit, its signal, the end of the connection", async () => {
    const near = gated();
    const peers = await openPeers({ extension: near.things }, { methods: { keep } });
    expect((await errorOf(peers.near.call("keep", ["wait"], { timeoutMs: 10 }))).code).toBe("CALL_TIMEOUT");
    const controller = new AbortController();
    const aborted = errorOf(peers.near.call("keep", ["wait"], { signal: controller.signal }));
    controller.abort();
    expect((await aborted).code).toBe("CALL_CANCELLED");
    const last = errorOf(peers.near.call("keep", ["wait"]));
    peers.near.close();
    expect((await last).code).toBe("PEER_CLOSED");
    near.open();
    await new Promise((resolve) => setImmediate(resolve));
    expect(near.things.opened).toBe(0);
  });
});

describe("segments", () => {
  const features = ["segments"];
  const segment = { nbytes: 8192, writable: true };

  test("reach the worker before the message that names them, and end when it releases them", async () => {
    const worker = new Things();
    const seen: number[] = [];
    const peers = await openPeers(
      { features },
      {
        features,
        extension: worker,
        onStop: () => {},
        methods: { seen: ([id]) => seen.push(id as number, worker.segments.length) },
      },
    );
    let released = 0;
    const id = peers.near.attach({ ...segment, path: "s1" }, () => {
      released += 1;
    });
    await peers.near.call("seen", [id]);
    expect([seen, worker.segments]).toEqual([[id, 1], [[id, { ...segment, path: "s1" }]]]);
    for (let time = 0; time < 2; time += 1) peers.near.giveBack(id);
    await expect.poll(() => worker.wantedBack).toEqual([id]);
    expect(released).toBe(0);
    for (let time = 0; time < 2; time += 1) peers.far.release(id);
    await expect.poll(() => released).toBe(1);
    peers.near.giveBack(id);
    await peers.near.call("seen", [id]);
    expect(worker.wantedBack).toEqual([id]);
  });

  test("end once when the connection ends", async () => {
    const peers = await openPeers({ features }, { features, extension: new Things(), onStop: () => {} });
    let released = 0;
    peers.near.attach(segment, () => {
      released += 1;
    });
    peers.far.close();
    await peers.near.closed;
    expect(released).toBe(1);
    expect(() => peers.near.attach(segment, () => {})).toThrow(expect.objectContaining({ code: "PEER_BROKEN" }));
  });

  test("need the feature on both sides", async () => {
    for (const [near, far] of [
      [features, []],
      [[], features],
      [["segments"], ["other"]],
    ]) {
      const peers = await openPeers({ features: near ?? [] }, { features: far ?? [], onStop: () => {} });
      expect([peers.near.hasFeature("segments"), peers.far.hasFeature("segments")]).toEqual([false, false]);
      expect(() => peers.near.attach(segment, () => {})).toThrow(
        expect.objectContaining({ code: "VALUE_UNSUPPORTED" }),
      );
    }
    const peers = await openPeers({ features: ["segments", "x"] }, { features: ["y", "segments"], onStop: () => {} });
    expect(["segments", "x", "y"].map((name) => peers.near.hasFeature(name))).toEqual([true, false, false]);
  });
});

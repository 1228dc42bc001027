// Connected peers over a real Unix socket, for the tests of src/rpc. Whoever calls `useSockets` gets them closed after each test.

import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import type { PyisolateError } from "../../src/errors.ts";
import { encodeHead } from "../../src/rpc/frame.ts";
import { Peer, type PeerOptions } from "../../src/rpc/peer.ts";
import { SocketTransport } from "../../src/rpc/transport.ts";

export type Side = Partial<PeerOptions>;

/** To be called once in a test file. */
export function useSockets() {
  let directory: string;
  let server: Server;
  const sockets: Socket[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "pyisolate-rpc-"));
    server = createServer({ pauseOnConnect: true });
  });

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(directory, { recursive: true });
  });

  /** Both ends of one connection. */
  async function openSockets(): Promise<[Socket, Socket]> {
    const path = join(directory, "s");
    if (!server.listening) await new Promise<void>((resolve) => server.listen(path, resolve));
    const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
    const dialled = connect(path);
    const pair: [Socket, Socket] = [await accepted, dialled];
    sockets.push(...pair);
    return pair;
  }

  async function openPeers(
    near: Side = {},
    far: Side = {},
  ): Promise<{ near: Peer; far: Peer; wires: [Socket, Socket] }> {
    const wires = await openSockets();
    const peers = {
      near: new Peer({ transport: new SocketTransport(wires[0]), ...near }),
      far: new Peer({ transport: new SocketTransport(wires[1]), ...far }),
    };
    await Promise.all([peers.near.ready, peers.far.ready]);
    return { ...peers, wires };
  }

  /** A peer whose other end is a bare socket that has said hello and collects what comes. */
  async function openAgainstBytes(
    options: Side = {},
    said: Hello = {},
  ): Promise<{ peer: Peer; socket: Socket; received: () => Buffer }> {
    const [mine, theirs] = await openSockets();
    const chunks: Buffer[] = [];
    theirs.on("data", (chunk) => chunks.push(chunk));
    theirs.on("error", () => {});
    const peer = new Peer({ transport: new SocketTransport(mine), ...options });
    theirs.write(hello(said));
    await peer.ready;
    return { peer, socket: theirs, received: () => Buffer.concat(chunks) };
  }

  return { openSockets, openPeers, openAgainstBytes };
}

interface Hello {
  readonly features?: readonly string[];
  readonly calls?: number;
}

export function hello({ features = [], calls = 64 }: Hello = {}): Buffer {
  const text = JSON.stringify({ protocol: [1, 1], features, limits: { calls, messageBytes: 2 ** 31 } });
  return encodeHead("hello", 0, 0, text, 0);
}

/** The frames in `bytes`, by kind number and id. */
export function framesOf(bytes: Buffer): { kind: number; flags: number; id: number; body: string }[] {
  const frames = [];
  for (let at = 0; at < bytes.byteLength; ) {
    const end = at + 16 + bytes.readUInt32LE(at);
    const body = bytes.toString("utf8", at + 16, end).trimEnd();
    frames.push({
      kind: bytes[at + 8] as number,
      flags: bytes[at + 9] as number,
      id: bytes.readUInt32LE(at + 12),
      body,
    });
    at = end + bytes.readUInt32LE(at + 4);
  }
  return frames;
}

export function deferred<T = void>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

export async function errorOf(promise: Promise<unknown>): Promise<PyisolateError> {
  return promise.then(
    () => expect.unreachable("expected a rejection"),
    (error) => error,
  );
}

// Seeds: what fuzzing starts from beside the corpus. The golden files of tests/wire as inputs of the targets, and what
// they lack: tensors in the segments that the target's own session has open.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { encodeHead } from "../../src/rpc/frame.ts";
import { FLAG, type KindName } from "../../src/rpc/kinds.ts";
import { frames, fromHex, type GoldenStream, invalid, joinParts, values } from "../wire/golden.ts";

/** Longer ones only make fuzzing slow. */
const maxSeedBytes = 20_000;

const HOST = 0;
const WORKER = 1;
const BARE = 2;
const BARE_WORKER = 3;
/** The peer's hello has come, and one call is open. */
const READY = 4 + 8;
/** What follows are records. */
const RECORDS = 32;

/** Inputs by target. */
export function seeds(): Readonly<Record<string, readonly Buffer[]>> {
  const all = { session: [...goldenStreams(), ...placed()], values: goldenValues(), manifest: manifests() };
  return Object.fromEntries(
    Object.entries(all).map(([target, inputs]) => [
      target,
      inputs.filter(({ byteLength }) => byteLength <= maxSeedBytes),
    ]),
  );
}

function goldenStreams(): Buffer[] {
  return [frames, invalid].flatMap(({ streams, parts }) =>
    streams.flatMap((stream) => {
      const shape = sideOf(stream) + 8 * Math.min(stream.calls ?? 0, 3);
      const bytes = joinParts(stream.receive, parts);
      return [sessionInput(shape, bytes), sessionInput(shape + RECORDS, recordsOf(bytes))];
    }),
  );
}

/** The frames of a stream as records of the target, without what attachments hold. */
function recordsOf(stream: Buffer): Buffer {
  const records: Buffer[] = [];
  for (let at = 0; at + 16 <= stream.byteLength; ) {
    const end = at + 16 + stream.readUInt32LE(at);
    const attachmentBytes = stream.readUInt32LE(at + 4);
    const text = stream.toString("latin1", at + 16, end).trimEnd();
    const head = Buffer.of(stream[at + 8] ?? 0, stream[at + 9] ?? 0, stream[at + 12] ?? 0, attachmentBytes / 64);
    records.push(head, Buffer.from(text, "latin1"), Buffer.of(0xff));
    at = end + attachmentBytes;
  }
  return Buffer.concat(records);
}

function sideOf({ features = [], stoppable = false }: GoldenStream): number {
  if (features.includes("segments")) return stoppable ? WORKER : HOST;
  return stoppable ? BARE_WORKER : BARE;
}

function sessionInput(shape: number, stream: Buffer): Buffer {
  return Buffer.concat([Buffer.of(shape, 0), stream]);
}

/**
 * A host's first call is 5, after a segment and a lease of each kind. The tensors lie at the very end of a segment, or at
 * its start with a negative stride: a small change leads out of it.
 */
function placed(): Buffer[] {
  const segmentBytes = 131_072;
  const endBytes = segmentBytes - 2 * 3 * 4;
  const place = (segment: number, more: object = {}) => ({
    $tensor: { dtype: "float32", shape: [2, 3], segment, offset: endBytes, lease: 1, ...more },
  });
  const result = (value: unknown) => frame("result", FLAG.reply | FLAG.last, 5, { value });
  const attach = (id: number, writable: boolean) => frame("attach", 0, id, { nbytes: segmentBytes, writable });
  const back = frame("attach", 0, 1, { nbytes: 0, writable: false });
  const call = (id: number, ...args: unknown[]) => frame("call", 0, id, { method: "m", args });
  const release = (id: number) => frame("release", 0, id);
  const inputs: [number, Buffer[]][] = [
    [HOST, [result(place(1))]],
    [HOST, [result([place(3), place(3, { strides: [-3, 1], offset: 12, lease: 2 })])]],
    [HOST, [release(2), release(4), result(place(3))]],
    [HOST, [call(3, place(3), place(1, { lease: 2, strides: [0, 0] }))]],
    [WORKER, [attach(1, false), attach(2, true), call(3, place(1, { lease: 4 })), back]],
    [WORKER, [attach(1, false), call(5, place(1, { lease: 4, strides: [-3, 1], offset: 12 }))]],
  ];
  return inputs.map(([side, stream]) => sessionInput(side + READY + RECORDS, recordsOf(Buffer.concat(stream))));
}

function frame(kind: KindName, flags: number, id: number, body?: object): Buffer {
  return encodeHead(kind, flags, id, body === undefined ? "" : JSON.stringify(body), 0);
}

function goldenValues(): Buffer[] {
  const golden = [...values.values, ...values.tensors, ...invalid.values, ...invalid.tensors];
  return golden.flatMap(({ json, also = [], attachments = [] }) => {
    const lengths = attachments.map((hex) => fromHex(hex).byteLength);
    const end = lengths.length === 0 ? "}" : `,"attachments":${JSON.stringify(lengths)}}`;
    return [json, ...also].map((text) => Buffer.from(`{"value":${text}${end}`));
  });
}

/** Those of the examples and of the tests' own packs. */
function manifests(): Buffer[] {
  const root = join(import.meta.dirname, "../..");
  return ["examples", "tests/cases/packs", "tests/bench/packs"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith("manifest.yaml"))
      .map((file) => readFileSync(join(root, folder, file))),
  );
}

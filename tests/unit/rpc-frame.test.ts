// Frames against the golden files.

import { expect, test } from "vitest";
import { areaBytes, areaParts, encodeHead, type FrameHeader, FrameReader } from "../../src/rpc/frame.ts";
import { FLAG, type KindName, WIRE } from "../../src/rpc/kinds.ts";
import { frames, fromHex, joinParts } from "../wire/golden.ts";

test.each(frames.frames)("golden frame, both ways: $name", (golden) => {
  const bytes = joinParts(golden.bytes);
  const attachments = (golden.attachments ?? []).map(fromHex);
  const flags = golden.flags.reduce((sum, flag) => sum | FLAG[flag as keyof typeof FLAG], 0);
  const total = areaBytes(attachments.map((attachment) => attachment.byteLength));
  const head = encodeHead(golden.kind as KindName, flags, golden.id, golden.body, total);
  expect(Buffer.concat([head, ...areaParts(attachments)]).toString("hex")).toBe(bytes.toString("hex"));

  for (const step of [bytes.byteLength, 1, 7]) {
    const [frame, ...others] = readAll(bytes, step);
    expect(others).toEqual([]);
    expect(frame).toMatchObject({ kind: golden.kind, flags, id: golden.id });
    expect(frame?.body.trimEnd()).toBe(golden.body);
    expect(frame?.attachment).toBe(Buffer.concat(areaParts(attachments)).toString("hex"));
  }
});

test("the reader says whether the stream may end here", () => {
  const reader = new FrameReader(collector([]));
  const bytes = joinParts(frames.frames.flatMap((frame) => frame.bytes));
  const ends = new Set<number>();
  let end = 0;
  for (const frame of frames.frames) {
    end += joinParts(frame.bytes).byteLength;
    ends.add(end);
  }
  for (let at = 0; at < bytes.byteLength; at += 1) {
    reader.feed(bytes.subarray(at, at + 1));
    reader.read(1);
    expect(reader.isInsideFrame).toBe(!ends.has(at + 1));
  }
});

test("read() stops after the asked number of frames and goes on where it stopped", () => {
  const seen: Frame[] = [];
  const reader = new FrameReader(collector(seen));
  reader.feed(Buffer.concat(Array.from({ length: 5 }, () => encodeHead("ping", 0, 0, "", 0))));
  expect([reader.read(2), seen.length, reader.isInsideFrame]).toEqual([2, 2, true]);
  expect([reader.read(2), seen.length]).toEqual([2, 4]);
  expect([reader.read(2), seen.length, reader.isInsideFrame]).toEqual([1, 5, false]);
});

test("a body longer than a frame can hold is refused by the sender", () => {
  const text = `{"method":"m","args":["${"x".repeat(WIRE.bodyBytes)}"]}`;
  expect(() => encodeHead("call", 0, 1, text, 0)).toThrowError(expect.objectContaining({ code: "VALUE_UNSUPPORTED" }));
});

interface Frame extends FrameHeader {
  readonly body: string;
  readonly attachment: string;
}

function collector(into: Frame[]) {
  let body = "";
  let place = new Uint8Array();
  return {
    header: () => {},
    body(header: FrameHeader, bytes: Buffer, start: number) {
      body = bytes.toString("utf8", start, start + header.bodyBytes);
      place = new Uint8Array(header.attachmentBytes);
      return place;
    },
    end(header: FrameHeader) {
      into.push({ ...header, body, attachment: Buffer.from(place).toString("hex") });
    },
  };
}

function readAll(bytes: Buffer, step: number): Frame[] {
  const seen: Frame[] = [];
  const reader = new FrameReader(collector(seen));
  for (let at = 0; at < bytes.byteLength; at += step) {
    reader.feed(bytes.subarray(at, at + step));
    while (reader.read(1) > 0);
  }
  return seen;
}

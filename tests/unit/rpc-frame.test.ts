// Frames against docs/protocol.md and the golden files.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { areaBytes, areaParts, encodeHead, type FrameHeader, FrameReader } from "../../src/rpc/frame.ts";
import { FLAG, KINDS, type KindName, WIRE } from "../../src/rpc/kinds.ts";
import { frames, fromHex, joinParts } from "../wire/golden.ts";

const protocol = readFileSync(join(import.meta.dirname, "../../docs/protocol.md"), "utf8");

test("the table of kinds is that of docs/protocol.md", () => {
  const rows = /<!-- kinds -->\n([\s\S]*?)<!-- end -->/.exec(protocol)?.[1]?.trim().split("\n").slice(2) ?? [];
  const documented = rows.map((row) => {
    const [number, name, id, flags, body, meaning] = row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
    return { number: Number(number), name, id, flags, body, feature: /feature `(\w+)`/.exec(meaning ?? "")?.[1] };
  });
  const idWords = { connection: "0", sender: "sender's", receiver: "receiver's" };
  const flagWords: Record<string, string> = {
    "0": "none",
    "0,4": "none, more",
    "1,3,5,7": "reply, reply+last, +more",
    "3": "reply+last",
    "1,5": "reply, +more",
  };
  const coded = Object.entries(KINDS).map(([name, kind]) => ({
    number: kind.number,
    name,
    id: idWords[kind.id],
    flags: flagWords[String(kind.flags)],
    body: kind.body,
    feature: "feature" in kind ? kind.feature : undefined,
  }));
  expect(coded).toEqual(documented);
  const withAttachments = Object.entries(KINDS).filter(([, kind]) => kind.attachments);
  expect(
    `Only ${withAttachments
      .map(([name]) => name)
      .join(", ")
      .replace(/, (\w+)$/, " and $1")}`,
  ).toBe(/Only call, result and event(?= carry attachments)/.exec(protocol)?.[0]);
});

test("flags and limits are those of docs/protocol.md", () => {
  for (const [name, bit] of Object.entries(FLAG)) expect(protocol).toMatch(new RegExp(`\\| ${bit} +\\| ${name} `));
  for (const size of [WIRE.bodyBytes, WIRE.attachmentBytes]) expect(protocol).toContain(`(${size})`);
  expect(protocol).toContain(`At most ${WIRE.helloBytes} body bytes`);
  expect(protocol).toContain(`nesting is at most ${WIRE.nesting} deep`);
  expect(protocol).toContain(`(at most ${WIRE.causes} deep)`);
  expect(protocol).toContain(`\`message\` and \`traceback\` to ${WIRE.errorTextChars} characters`);
  expect(protocol).toContain(`(1 … ${WIRE.maxCalls})`);
  expect(protocol).toContain(`0 … ${WIRE.maxVersion}`);
});

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

// The tables of docs/protocol.md against the code: kinds, flags, bounds, features, and what each body must and may hold.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { ErrorCode } from "../../src/errors.ts";
import { encodeHead, FrameReader } from "../../src/rpc/frame.ts";
import { FLAG, KINDS, type Kind, type KindName, WIRE } from "../../src/rpc/kinds.ts";
import { remoteError } from "../../src/rpc/remote.ts";
import { Session } from "../../src/rpc/session.ts";
import { ValueCodec } from "../../src/rpc/values.ts";
import { hello } from "./rpc-support.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/protocol.md"), "utf8");

/** The cells of the table that follows `<!-- name -->`, row by row. */
function table(name: string): string[][] {
  const rows = new RegExp(`<!-- ${name} -->\n([\\s\\S]*?)<!-- end -->`).exec(page)?.[1]?.trim().split("\n").slice(2);
  return (rows ?? []).map((row) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const kinds = Object.entries(KINDS) as [KindName, Kind][];

test("kinds", () => {
  const idWords = { connection: "0", sender: "sender's", receiver: "receiver's" };
  const flagWords: Record<string, string> = {
    "0": "none",
    "0,4": "none, more",
    "1,3,5,7": "reply, reply+last, +more",
    "3": "reply+last",
    "1,5": "reply, +more",
  };
  const coded = kinds.map(([name, kind]) => [
    String(kind.number),
    name,
    idWords[kind.id],
    flagWords[String(kind.flags)],
    kind.body,
    kind.feature,
  ]);
  const documented = table("kinds").map((row) => [...row.slice(0, 5), /feature `(\w+)`/.exec(row[5] ?? "")?.[1]]);
  expect(coded).toEqual(documented);
  const names = kinds.filter(([, kind]) => kind.attachments).map(([name]) => name);
  expect(page).toContain(`Only ${names.join(", ").replace(/, (\w+)$/, " and $1")} carry attachments`);
});

test("flags", () => {
  for (const [name, bit] of Object.entries(FLAG)) expect(page).toMatch(new RegExp(`\\| ${bit} +\\| ${name} `));
});

test("bounds", () => {
  expect(Object.fromEntries(table("limits").map(([name, value]) => [name, Number(value)]))).toEqual({
    "header bytes": WIRE.headerBytes,
    "step of body bytes": WIRE.bodyStepBytes,
    "body bytes": WIRE.bodyBytes,
    "body bytes of hello": WIRE.helloBytes,
    "step of attachments": WIRE.attachmentStepBytes,
    "attachment bytes of one frame": WIRE.attachmentBytes,
    "nesting of arrays and objects in a body": WIRE.nesting,
    "errors in a chain of causes": WIRE.causes,
    "characters of an error's message, and traceback": WIRE.errorTextChars,
    "highest id": WIRE.maxId,
    "highest `limits.calls`": WIRE.maxCalls,
    "highest `limits.items`": WIRE.maxItems,
    "highest protocol version": WIRE.maxVersion,
    "step of a segment's bytes": WIRE.segmentStepBytes,
  });
});

test("features", () => {
  const coded = kinds.flatMap(([name, { feature }]) => (feature === undefined ? [] : [[`\`${feature}\``, name]]));
  expect(table("features").map(([feature, of]) => [feature, of])).toEqual(coded);
});

test("codes that only this side can judge", () => {
  const [, list] = /^- (.*) are what a side says of the other; as the `code`/m.exec(page) ?? [];
  const codes = (list ?? "").split(/, | and /) as ErrorCode[];
  expect(codes.length).toBeGreaterThan(5);
  const error = { type: "E", message: "", args: [], traceback: "" };
  for (const code of codes) expect(remoteError("m", { ...error, code }).code).toBe("REMOTE_ERROR");
  expect(remoteError("m", { ...error, code: "PACK_LOAD_FAILED" }).code).toBe("PACK_LOAD_FAILED");
});

describe("bodies", () => {
  const samples: Record<string, unknown> = {
    protocol: [1, 1],
    features: [],
    limits: { calls: 64, messageBytes: 2 ** 31 },
    method: "m",
    args: [],
    timeoutMs: 5,
    attachments: [],
    value: 1,
    type: "E",
    message: "",
    traceback: "",
    code: "USAGE",
    cause: { type: "E", message: "", args: [], traceback: "" },
    event: "log",
    data: null,
    nbytes: 4096,
    writable: true,
    path: "s1",
  };
  const bodies = [...new Set(table("bodies").map(([body]) => body as KindName))];

  /** Feeds a session, a worker with one call of its own, one frame of that kind. Raises what it raises. */
  function receive(kind: KindName, body: Record<string, unknown>): void {
    const nothing = () => {};
    const owner = { send: nothing, hasRoom: () => true, remainingMs: nothing, opened: nothing, called: nothing };
    const answers = { answered: () => true, failed: nothing, notified: nothing, refused: nothing, attached: nothing };
    const others = { cancelled: nothing, moreWanted: nothing, wantedBack: nothing, pinged: nothing, stopped: nothing };
    const session = new Session<object>(
      {
        limits: { calls: 1, messageBytes: 64, items: 1 },
        codec: new ValueCodec(),
        isStoppable: true,
        features: ["segments"],
      },
      { ...owner, ...answers, ...others, remainingMs: () => undefined },
    );
    session.open();
    const reader = new FrameReader(session);
    const feed = (bytes: Buffer) => {
      reader.feed(bytes);
      reader.read(64);
    };
    if (kind !== "hello") feed(hello({ features: ["segments"] }));
    session.call({}, { open: '{"method":"m","args":[]', attachments: [], leases: [] }, undefined);
    const { id, flags } = KINDS[kind];
    const flag = (flags as readonly number[]).includes(3) ? 3 : (flags[0] as number);
    feed(encodeHead(kind, flag, id === "connection" ? 0 : 1, JSON.stringify(body), 0));
  }

  test.each(bodies)("%s", (kind) => {
    const rows = table("bodies").filter(([body]) => body === kind);
    const pick = (keys: (string | undefined)[]) =>
      Object.fromEntries(keys.map((key) => [key ?? "", samples[key ?? ""]]));
    const keys = rows.map(([, key]) => key?.replaceAll("`", ""));
    const required = rows.filter(([, , isRequired]) => isRequired === "yes").map(([, key]) => key?.replaceAll("`", ""));
    receive(kind, pick(keys));
    receive(kind, pick(required));
    const refused = expect.objectContaining({ code: "PROTOCOL_VIOLATION" });
    for (const left of required) {
      expect(() => receive(kind, pick(required.filter((key) => key !== left))), left).toThrow(refused);
      expect(() => receive(kind, { ...pick(required), [left ?? ""]: undefined }), left).toThrow(refused);
    }
    const withMore = () => receive(kind, { ...pick(required), later: 1 });
    if (kind === "hello") withMore();
    else expect(withMore).toThrow(refused);
  });
});

// Bodies: the JSON object of a frame, as text and as checked fields. Must not know ids, credits or sockets.

import { isUtf8 } from "node:buffer";
import { inspect } from "node:util";
import { ERROR_CODES, type ErrorCode, type PyisolateError } from "../errors.ts";
import { areaBytes, violation } from "./frame.ts";
import { type Limits, WIRE } from "./kinds.ts";
import {
  IncomingAttachments,
  type OutgoingAttachments,
  type Segment,
  type Value,
  type ValueCodec,
  type ValueSource,
} from "./values.ts";

export interface Hello {
  readonly protocol: readonly [min: number, max: number];
  readonly features: readonly string[];
  readonly limits: Limits;
}

/** What an error frame says. Text, and values by copy: nothing of it is constructed as an exception. */
export interface ErrorBody {
  readonly type: string;
  readonly message: string;
  readonly args: readonly Value[];
  readonly traceback: string;
  readonly code?: ErrorCode;
  readonly cause?: ErrorBody;
}

const EVENT_NAMES = ["progress", "log", "preview"] as const;
export type EventName = (typeof EVENT_NAMES)[number];

/** A body to be sent: its text up to the closing parts, which are only known when it is sent. */
export interface OutgoingBody {
  /** `{"key":…` without the closing brace. */
  readonly open: string;
  readonly attachments: readonly Uint8Array[];
  /** To be ended if the message is not sent. */
  readonly leases: readonly number[];
}

export function helloText(hello: Hello): string {
  return JSON.stringify(hello);
}

/** Encodes the arguments now, so that later changes to them do not travel. Raises VALUE_UNSUPPORTED. */
export function callBody(
  method: string,
  args: readonly Value[],
  codec: ValueCodec,
  sink: OutgoingAttachments,
): OutgoingBody {
  return openBody((encode) => ({ method, args: encode(args as Value[]) }), codec, sink);
}

/** Raises VALUE_UNSUPPORTED. */
export function resultBody(value: Value, codec: ValueCodec, sink: OutgoingAttachments): OutgoingBody {
  return openBody((encode) => ({ value: encode(value) }), codec, sink);
}

/** Raises VALUE_UNSUPPORTED. */
export function eventBody(event: EventName, data: Value, codec: ValueCodec, sink: OutgoingAttachments): OutgoingBody {
  return openBody((encode) => ({ event, data: encode(data) }), codec, sink);
}

/** The leases of values that cannot be sent after all end here. */
function openBody(
  write: (encode: (value: Value) => unknown) => Readonly<Record<string, unknown>>,
  codec: ValueCodec,
  sink: OutgoingAttachments,
): OutgoingBody {
  try {
    const body = write((value) => codec.encode(value, sink, 1));
    return { open: JSON.stringify(body).slice(0, -1), attachments: sink.list, leases: sink.leases };
  } catch (error) {
    sink.abandon();
    throw error;
  }
}

/** Closes a body: what remains of the deadline, and the lengths of its attachments. */
export function closeBody(body: OutgoingBody, timeoutMs?: number): string {
  const deadline = timeoutMs === undefined ? "" : `,"timeoutMs":${timeoutMs}`;
  if (body.attachments.length === 0) return `${body.open}${deadline}}`;
  return `${body.open}${deadline},"attachments":[${body.attachments.map((attachment) => attachment.byteLength)}]}`;
}

/** Describes whatever was thrown. Never raises. */
export function errorText(thrown: unknown): string {
  return JSON.stringify(describe(thrown, 1));
}

function describe(thrown: unknown, depth: number): Record<string, unknown> {
  const isError = thrown instanceof Error;
  const message = isError ? thrown.message : inspect(thrown);
  const code = isError ? (thrown as Partial<PyisolateError>).code : undefined;
  const cause = isError ? thrown.cause : undefined;
  return {
    type: code === "CALL_CANCELLED" ? "Cancelled" : isError ? thrown.name.slice(0, WIRE.errorTextChars) : typeof thrown,
    message: message.slice(0, WIRE.errorTextChars),
    args: [message.slice(0, WIRE.errorTextChars)],
    traceback: isError ? (thrown.stack ?? "").slice(-WIRE.errorTextChars) : "",
    ...(typeof code === "string" && isErrorCode(code) ? { code } : {}),
    ...(cause !== undefined && depth < WIRE.causes ? { cause: describe(cause, depth + 1) } : {}),
  };
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}

/** A received body whose own fields are checked; its values are decoded when the attachments are there. */
export interface IncomingBody {
  readonly fields: Readonly<Record<string, unknown>>;
  /** Byte length of each attachment. */
  readonly lengths: readonly number[];
  /** Bytes of the whole attachment area. */
  readonly areaBytes: number;
  /** The text holds nothing that needs decoding: the parsed values are the values. */
  readonly isPlain: boolean;
}

export type MessageKind = "call" | "result" | "error" | "event";

const NO_LENGTHS: readonly number[] = [];

/** Parses and checks the body of a message: `bytes` from `start` to `end`. Raises PROTOCOL_VIOLATION. */
export function parseBody(
  kind: MessageKind,
  bytes: Buffer,
  start: number,
  end: number,
  messageBytes: number,
): IncomingBody {
  const text = decodeText(bytes, start, end);
  const fields = parseObject(text);
  CHECKS[kind](fields);
  const lengths = parseLengths(fields.attachments);
  const total = lengths === NO_LENGTHS ? 0 : areaBytes(lengths);
  if (total > messageBytes)
    throw violation(`message with ${total} attachment bytes, this side accepts ${messageBytes}`);
  return { fields, lengths, areaBytes: total, isPlain: lengths.length === 0 && !NEEDS_DECODING.test(text) };
}

// A tag, a key that is not plain, an escape that may hide one, a number that may be beyond the safe ones, or -0.
const NEEDS_DECODING = /"[$_0-9"]|\\u|\d{16}|\d[eE]|-0/;

/** Decodes one value of a body. Raises PROTOCOL_VIOLATION. */
export function decodeValue(
  json: unknown,
  body: IncomingBody,
  area: Uint8Array,
  codec: ValueCodec,
  hold?: ValueSource["hold"],
): Value {
  if (body.isPlain) return json as Value;
  const attachments = new IncomingAttachments(cutArea(body.lengths, area), hold);
  const value = codec.decode(json, attachments);
  attachments.finish();
  return value;
}

function cutArea(lengths: readonly number[], area: Uint8Array): Uint8Array[] {
  let start = 0;
  return lengths.map((length) => {
    const attachment = area.subarray(start, start + length);
    start += areaBytes([length]);
    return attachment;
  });
}

/** Parses the first frame of the peer. Raises PROTOCOL_VIOLATION. */
export function parseHello(bytes: Buffer, start: number, end: number): Hello {
  const fields = parseObject(decodeText(bytes, start, end));
  const { protocol, features, limits } = fields;
  const isVersion = (value: unknown) => isCount(value) && value <= WIRE.maxVersion;
  if (!Array.isArray(protocol) || protocol.length !== 2 || !protocol.every(isVersion) || protocol[0] > protocol[1]) {
    throw violation("hello without a range of protocol versions");
  }
  if (!Array.isArray(features) || !features.every((feature) => typeof feature === "string")) {
    throw violation("hello without a list of features");
  }
  const { calls, messageBytes, items = 0 } = isObject(limits) ? limits : {};
  if (!isCount(calls) || calls < 1 || calls > WIRE.maxCalls || !isCount(messageBytes)) {
    throw violation("hello without limits for calls and messageBytes");
  }
  if (!isCount(items) || items > WIRE.maxItems) throw violation("hello with a limit for items that is none");
  return { protocol: [protocol[0], protocol[1]], features, limits: { calls, messageBytes, items } };
}

/** Parses the body of an attach frame; undefined: a segment is wanted back. Raises PROTOCOL_VIOLATION. */
export function parseAttach(bytes: Buffer, start: number, end: number): Segment | undefined {
  const fields = parseObject(decodeText(bytes, start, end));
  needKeys("attach", fields, ["nbytes", "writable"], ["path"]);
  const { nbytes, writable, path } = fields;
  if (!isCount(nbytes) || nbytes % WIRE.segmentStepBytes !== 0) throw violation(`attach of ${nbytes} bytes`);
  if (typeof writable !== "boolean") throw violation('attach whose "writable" is no boolean');
  if (path !== undefined && !isFileName(path)) throw violation("attach whose path is no plain file name");
  if (nbytes > 0) return path === undefined ? { nbytes, writable } : { nbytes, writable, path };
  if (writable || path !== undefined) throw violation("attach of 0 bytes that is more than the wish to have it back");
  return undefined;
}

function isFileName(path: unknown): path is string {
  return typeof path === "string" && /^(?!\.\.?$)[A-Za-z0-9._-]{1,255}$/.test(path);
}

/** Body of an attach frame; undefined: the segment is wanted back. */
export function attachText(segment: Segment | undefined): string {
  if (segment === undefined) return '{"nbytes":0,"writable":false}';
  const { nbytes, writable, path } = segment;
  return JSON.stringify(path === undefined ? { nbytes, writable } : { nbytes, writable, path });
}

/** The error of an error body whose fields are checked. */
export function decodeError(
  fields: Readonly<Record<string, unknown>>,
  body: IncomingBody,
  codec: ValueCodec,
): ErrorBody {
  const { type, message, args, traceback, code, cause } = fields;
  return {
    type: type as string,
    message: message as string,
    args: decodeValue(args, body, new Uint8Array(0), codec) as Value[],
    traceback: traceback as string,
    ...(code !== undefined && isErrorCode(code as string) ? { code: code as ErrorCode } : {}),
    ...(cause === undefined ? {} : { cause: decodeError(cause as Record<string, unknown>, body, codec) }),
  };
}

const CHECKS: Readonly<Record<MessageKind, (fields: Readonly<Record<string, unknown>>) => void>> = {
  call(fields) {
    needKeys("call", fields, ["method", "args"], ["timeoutMs", "attachments"]);
    needString("call", fields, "method");
    needArray("call", fields, "args");
    const { timeoutMs } = fields;
    const isTime = typeof timeoutMs === "number" && timeoutMs >= 0 && timeoutMs < Number.POSITIVE_INFINITY;
    if (timeoutMs !== undefined && !isTime) throw violation(`call with timeoutMs ${String(timeoutMs)}`);
  },
  result(fields) {
    needKeys("result", fields, ["value"], ["attachments"]);
  },
  event(fields) {
    needKeys("event", fields, ["event", "data"], ["attachments"]);
    if (!(EVENT_NAMES as readonly unknown[]).includes(fields.event)) throw violation("event of an unknown name");
  },
  error(fields) {
    let error: unknown = fields;
    for (let depth = 1; error !== undefined; depth += 1) {
      if (depth > WIRE.causes) throw violation(`error with more than ${WIRE.causes} causes`);
      if (!isObject(error)) throw violation("error with a cause that is no object");
      checkError(error);
      error = error.cause;
    }
  },
};

function checkError(fields: Readonly<Record<string, unknown>>): void {
  needKeys("error", fields, ["type", "message", "args", "traceback"], ["code", "cause"]);
  for (const key of ["type", "message", "traceback"]) needString("error", fields, key);
  needArray("error", fields, "args");
  if (Object.hasOwn(fields, "code")) needString("error", fields, "code");
}

type Fields = Readonly<Record<string, unknown>>;

function needKeys(kind: string, fields: Fields, required: readonly string[], optional: readonly string[]): void {
  for (const key of required) if (!Object.hasOwn(fields, key)) throw violation(`${kind} without "${key}"`);
  for (const key of Object.keys(fields)) {
    if (!required.includes(key) && !optional.includes(key))
      throw violation(`${kind} with the key ${JSON.stringify(key)}`);
  }
}

function needString(kind: string, fields: Fields, key: string): void {
  if (typeof fields[key] !== "string") throw violation(`${kind} whose "${key}" is no string`);
}

function needArray(kind: string, fields: Fields, key: string): void {
  if (!Array.isArray(fields[key])) throw violation(`${kind} whose "${key}" is no array`);
}

function parseLengths(lengths: unknown): readonly number[] {
  if (lengths === undefined) return NO_LENGTHS;
  if (!Array.isArray(lengths) || !lengths.every(isCount)) throw violation("attachments that are no list of lengths");
  return lengths;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function decodeText(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString("utf8", start, end);
  if (text.includes("\ufffd") && !isUtf8(bytes.subarray(start, end))) throw violation("body that is not UTF-8");
  if (text.length > WIRE.nesting) checkNesting(text);
  return text;
}

function parseObject(text: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw violation(`body that is not JSON: ${(error as Error).message}`);
  }
  if (!isObject(parsed)) throw violation("body that is not one JSON object");
  return parsed;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Counts brackets outside strings before the text is parsed. Text that is not JSON may pass; parsing refuses it. */
function checkNesting(text: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charCodeAt(at);
    if (char === QUOTE) {
      for (at += 1; at < text.length && text.charCodeAt(at) !== QUOTE; at += 1) {
        if (text.charCodeAt(at) === BACKSLASH) at += 1;
      }
    } else if (char === 0x5b || char === 0x7b) {
      depth += 1; // [ or {
      if (depth > WIRE.nesting) throw violation(`body nested deeper than ${WIRE.nesting}`);
    } else if (char === 0x5d || char === 0x7d) {
      depth -= 1; // ] or }
    }
  }
}

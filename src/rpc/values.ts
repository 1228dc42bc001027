// Values: what may travel, and how it looks as JSON with tagged objects. Closed: nothing a peer sends names a class.
// Must not know frames, calls or tensors; a ValueExtension adds tags of its own.

import { PyisolateError } from "../errors.ts";
import { violation } from "./frame.ts";
import { WIRE } from "./kinds.ts";

/** A float for Python even where it has no fraction: `new Float(1)` arrives as 1.0, the number 1 as the int 1. */
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** A Python tuple; arrays are Python lists. */
export class Tuple {
  readonly items: readonly Value[];
  constructor(items: readonly Value[]) {
    this.items = items;
  }
}

/** A value that a ValueExtension knows how to send. */
export interface ExtensionValue {
  readonly wireTag: string;
}

export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Float
  | Tuple
  | Uint8Array
  | Value[]
  | Set<Value>
  | Map<Value, Value>
  | ExtensionValue
  | { [key: string]: Value };

/** Takes what travels beside the text. */
export interface ValueSink {
  /** Bytes are borrowed until the message is written. Gives the index to put into the text. */
  attach(bytes: Uint8Array): number;
  /** Says that `bytes` bytes of a tensor were copied for this message, and by which route. */
  copied(bytes: number, route: string): void;
  /**
   * Opens a lease of this side and gives its id, to be put into the text. `onEnd` is called once: when the peer
   * releases it, when the connection ends, or at once when the message is not sent after all.
   */
  lease(onEnd: () => void): number;
}

/** The attachments of a received message. */
export interface ValueSource {
  /** Each may be taken once. Raises PROTOCOL_VIOLATION when `index` is not that of one that is left. */
  take(index: unknown): Uint8Array;
  /**
   * Begins to use a lease of the peer. Gives what to call when the last view of it is gone: that sends release, once,
   * while the connection lives. Raises PROTOCOL_VIOLATION when `id` cannot be that of a new lease.
   */
  hold(id: unknown): () => void;
}

/** A segment of shared memory that the peer has made for this side, as its attach frame says. */
export interface Segment {
  /** A multiple of 4096. */
  readonly nbytes: number;
  /** Whether the receiver may write it. */
  readonly writable: boolean;
  /** File name in the directory of mounted segments; absent: its descriptor came by the descriptor socket. */
  readonly path?: string;
}

/** Adds values to the wire, each under a tag that starts with `$`. */
export interface ValueExtension {
  /** undefined: not a value of this extension. Raises PyisolateError when it is one that cannot be sent. */
  encode(value: object, sink: ValueSink): { readonly tag: string; readonly payload: unknown } | undefined;
  /** undefined: not a tag of this extension. Raises PROTOCOL_VIOLATION for a payload that breaks its rules. */
  decode(tag: string, payload: unknown, source: ValueSource): ExtensionValue | undefined;
  /**
   * Called before `encode` of a call or result. undefined: all of `values` can be encoded now; else settles when it is
   * worth asking again, or rejects with what the caller gets.
   */
  prepare?(values: readonly Value[]): Promise<void> | undefined;
  /** Worker only: the peer has made a segment; `id` names it. */
  onAttach?(id: number, segment: Segment): void;
  /** Worker only: the peer wants the segment back; `Peer.release` as soon as nothing uses it. Comes once. */
  onGiveBack?(id: number): void;
}

/** Waits until the values can be encoded, or that is over. Rejects with what the extension says. */
export async function waitUntilPrepared(
  extension: ValueExtension | undefined,
  values: readonly Value[],
  isPrepared: Promise<void>,
  isOver: () => boolean,
): Promise<void> {
  let wait: Promise<void> | undefined = isPrepared;
  while (wait !== undefined && !isOver()) {
    await wait;
    wait = isOver() ? undefined : extension?.prepare?.(values);
  }
}

/** Opens and ends leases of this side. */
export interface LeaseBook {
  open(onEnd: () => void): number;
  /** Calls its `onEnd`, unless that was done. */
  end(id: number): void;
}

const NO_LEASES: readonly number[] = Object.freeze([]);

/** Collects what travels beside the text of a message to be sent. */
export class OutgoingAttachments implements ValueSink {
  readonly list: Uint8Array[] = [];
  bytesCopied = 0;
  /** Each once. */
  readonly routes: string[] = [];
  /** Leases that were opened for the message. */
  leases: readonly number[] = NO_LEASES;
  readonly #book: LeaseBook | undefined;

  /** Without a `book` no lease can be opened. */
  constructor(book?: LeaseBook) {
    this.#book = book;
  }

  attach(bytes: Uint8Array): number {
    return this.list.push(bytes) - 1;
  }

  copied(bytes: number, route: string): void {
    this.bytesCopied += bytes;
    if (!this.routes.includes(route)) this.routes.push(route);
  }

  lease(onEnd: () => void): number {
    if (this.#book === undefined) throw new Error("a lease without a connection");
    const id = this.#book.open(onEnd);
    this.leases = [...this.leases, id];
    return id;
  }

  /** The message will not be sent: ends its leases. */
  abandon(): void {
    for (const id of this.leases) this.#book?.end(id);
  }
}

/** The attachments of a received message, each to be named exactly once. */
export class IncomingAttachments implements ValueSource {
  readonly hold: ValueSource["hold"];
  readonly #list: (Uint8Array | undefined)[];
  #left: number;

  /** Without `hold` every lease is refused. */
  constructor(list: readonly Uint8Array[], hold: ValueSource["hold"] = refuseLease) {
    this.hold = hold;
    this.#list = [...list];
    this.#left = list.length;
  }

  take(index: unknown): Uint8Array {
    const bytes = typeof index === "number" ? this.#list[index] : undefined;
    if (bytes === undefined) throw violation(`attachment ${JSON.stringify(index)} does not exist or was named before`);
    this.#list[index as number] = undefined;
    this.#left -= 1;
    return bytes;
  }

  /** Raises PROTOCOL_VIOLATION when some were not taken. */
  finish(): void {
    if (this.#left > 0) throw violation(`${this.#left} attachments that no value names`);
  }
}

function refuseLease(id: unknown): never {
  throw violation(`lease ${show(id)} where there can be none`);
}

export interface CodecOptions {
  readonly extension?: ValueExtension | undefined;
  /** Tagged floats are read as Float, so that everything read can be sent on unchanged. */
  readonly isLossless?: boolean;
}

/** Turns values into JSON-ready data and back. */
export class ValueCodec {
  readonly #extension: ValueExtension | undefined;
  readonly #isLossless: boolean;

  constructor(options: CodecOptions = {}) {
    this.#extension = options.extension;
    this.#isLossless = options.isLossless ?? false;
  }

  /**
   * Gives data for JSON.stringify: `value` itself where nothing in it needs a tag.
   *
   * `nesting` counts the arrays and objects of the body around it. Raises VALUE_UNSUPPORTED.
   */
  encode(value: Value, sink: ValueSink, nesting: number): unknown {
    return new Encoder(sink, this.#extension).encode(value, nesting);
  }

  /** Decodes parsed JSON, in place where it can. Nesting was checked before. Raises PROTOCOL_VIOLATION. */
  decode(json: unknown, attachments: ValueSource): Value {
    switch (typeof json) {
      case "number":
        if (!Number.isFinite(json) || (Number.isInteger(json) && !Number.isSafeInteger(json))) {
          throw violation(`bare number ${json}, expected a tagged one`);
        }
        return json + 0; // a bare -0 is the integer 0, as in Python
      case "object":
        if (json === null) return null;
        if (Array.isArray(json)) return this.#decodeItems(json, attachments);
        return this.#decodeObject(json as Record<string, unknown>, attachments);
      default:
        return json as string | boolean;
    }
  }

  #decodeItems(items: unknown[], attachments: ValueSource): Value[] {
    for (let index = 0; index < items.length; index += 1) items[index] = this.decode(items[index], attachments);
    return items as Value[];
  }

  #decodeObject(object: Record<string, unknown>, attachments: ValueSource): Value {
    const keys = Object.keys(object);
    if (keys.length === 1 && (keys[0] as string).startsWith("$")) {
      const tag = keys[0] as string;
      return this.#decodeTagged(tag, object[tag], attachments);
    }
    for (const key of keys) {
      if (!isPlainKey(key)) throw violation(`object with the key ${JSON.stringify(key)}`);
      object[key] = this.decode(object[key], attachments);
    }
    return object as { [key: string]: Value };
  }

  #decodeTagged(tag: string, payload: unknown, attachments: ValueSource): Value {
    switch (tag) {
      case "$int":
        return decodeInt(payload);
      case "$float": {
        const value = decodeFloat(payload);
        return this.#isLossless ? new Float(value) : value;
      }
      case "$bytes":
        return attachments.take(payload);
      case "$tuple":
        return new Tuple(this.#decodeItems(needArray(tag, payload), attachments));
      case "$set":
        return decodeSet(this.#decodeItems(needArray(tag, payload), attachments));
      case "$dict":
        return decodeDict(needArray(tag, payload).map((pair) => this.#decodePair(pair, attachments)));
      default: {
        const value = this.#extension?.decode(tag, payload, attachments);
        if (value === undefined) throw violation(`unknown tag ${JSON.stringify(tag)}`);
        return value;
      }
    }
  }

  #decodePair(pair: unknown, attachments: ValueSource): [Value, Value] {
    if (!Array.isArray(pair) || pair.length !== 2) throw violation("$dict with something that is not a pair");
    return this.#decodeItems(pair, attachments) as [Value, Value];
  }
}

class Encoder {
  readonly #sink: ValueSink;
  readonly #extension: ValueExtension | undefined;
  /** Where the value that is looked at stands, for messages. */
  readonly #path: (string | number)[] = [];

  constructor(sink: ValueSink, extension: ValueExtension | undefined) {
    this.#sink = sink;
    this.#extension = extension;
  }

  encode(value: unknown, nesting: number): unknown {
    switch (typeof value) {
      case "string":
      case "boolean":
        return value;
      case "number":
        if (isPlainNumber(value)) return value;
        return this.#tagged("$float", floatText(value), nesting);
      case "bigint":
        if (value >= -MAX_SAFE && value <= MAX_SAFE) return Number(value);
        return this.#tagged("$int", value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`, nesting);
      case "object":
        if (value === null) return null;
        if (Array.isArray(value)) return this.#items(value, nesting);
        return this.#object(value, nesting);
      default:
        throw this.#unsupported(typeof value);
    }
  }

  #object(value: object, nesting: number): unknown {
    const prototype = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) {
      return this.#plainObject(value as Record<string, unknown>, nesting);
    }
    if (value instanceof Float) {
      const isPlain = isPlainNumber(value.value) && !Number.isInteger(value.value);
      return isPlain ? value.value : this.#tagged("$float", floatText(value.value), nesting);
    }
    if (value instanceof Tuple) return this.#tagged("$tuple", this.#items(value.items, nesting + 1), nesting);
    if (value instanceof Map) return this.#map(value, nesting);
    if (value instanceof Set) return this.#set(value, nesting);
    if (value instanceof Uint8Array) return this.#tagged("$bytes", this.#sink.attach(value), nesting);
    const extended = this.#extension?.encode(value, this.#sink);
    if (extended === undefined) throw this.#unsupported(`an object of class ${prototype.constructor?.name ?? "?"}`);
    return this.#tagged(extended.tag, extended.payload, nesting + nestingOf(extended.payload));
  }

  /** A copy only from the first item on that changes. */
  #items(items: readonly unknown[], nesting: number): readonly unknown[] {
    this.#enter(nesting + 1);
    let copy: unknown[] | undefined;
    for (let index = 0; index < items.length; index += 1) {
      const item = items[index];
      const encoded = typeof item === "string" ? item : this.#at(index, item, nesting + 1);
      if (copy !== undefined) copy.push(encoded);
      else if (!Object.is(encoded, item)) {
        copy = items.slice(0, index);
        copy.push(encoded);
      }
    }
    return copy ?? items;
  }

  #plainObject(object: Record<string, unknown>, nesting: number): unknown {
    const keys = Object.keys(object);
    if (!keys.every(isPlainKey)) return this.#dict(Object.entries(object), nesting);
    this.#enter(nesting + 1);
    let copy: Record<string, unknown> | undefined;
    for (const key of keys) {
      const item = object[key];
      const encoded = typeof item === "string" ? item : this.#at(key, item, nesting + 1);
      if (copy === undefined && !Object.is(encoded, item)) copy = { ...object };
      if (copy !== undefined) copy[key] = encoded;
    }
    return copy ?? object;
  }

  #map(map: Map<unknown, unknown>, nesting: number): unknown {
    const entries = [...map];
    if (entries.every(([key]) => typeof key === "string" && isPlainKey(key))) {
      return this.#plainObject(Object.fromEntries(entries), nesting);
    }
    return this.#dict(entries, nesting);
  }

  #dict(entries: readonly (readonly [unknown, unknown])[], nesting: number): unknown {
    this.#enter(nesting + 3);
    const pairs = entries.map(([key, item]) => [
      this.#at(String(key), key, nesting + 3),
      this.#at(String(key), item, nesting + 3),
    ]);
    this.#needDistinct(entries.map(([key]) => key));
    return this.#tagged("$dict", pairs, nesting);
  }

  #set(set: Set<unknown>, nesting: number): unknown {
    const items = [...set];
    const encoded = this.#items(items, nesting + 1);
    this.#needDistinct(items);
    return this.#tagged("$set", encoded, nesting);
  }

  #needDistinct(keys: readonly unknown[]): void {
    const seen = new Set<string>();
    for (const identity of keyIdentities(keys)) {
      if (identity === undefined) throw this.#unsupported("a set element or dict key that Python cannot hash");
      if (seen.has(identity)) throw this.#unsupported("a set or dict with two keys that are equal in Python");
      seen.add(identity);
    }
  }

  #tagged(tag: string, payload: unknown, nesting: number): unknown {
    this.#enter(nesting + 1);
    return { [tag]: payload };
  }

  #at(key: string | number, value: unknown, nesting: number): unknown {
    this.#path.push(key);
    const encoded = this.encode(value, nesting);
    this.#path.pop();
    return encoded;
  }

  #enter(nesting: number): void {
    if (nesting > WIRE.nesting) throw this.#unsupported(`nesting deeper than ${WIRE.nesting}, or in a circle,`);
  }

  #unsupported(what: string): PyisolateError {
    const place = this.#path.length === 0 ? "" : ` (at ${this.#path.slice(0, 8).join(".")})`;
    return new PyisolateError("VALUE_UNSUPPORTED", `${what} has no form on the wire${place}`, {
      next: "Send null, booleans, numbers, strings, arrays, plain objects, Map, Set, Tuple, Uint8Array or Tensor.",
    });
  }
}

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Whether Python reads the same number from its bare text. */
function isPlainNumber(value: number): boolean {
  if (Number.isSafeInteger(value)) return value !== 0 || !Object.is(value, -0);
  return Number.isFinite(value) && !Number.isInteger(value);
}

function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  return Object.is(value, -0) ? "-0" : String(value);
}

/** Whether no language reorders the key or treats it specially. */
function isPlainKey(key: string): boolean {
  const first = key.charCodeAt(0); // NaN for ""
  return first > 0x39 ? first !== 0x5f : first < 0x30 && first !== 0x24;
}

function decodeInt(payload: unknown): bigint {
  if (typeof payload !== "string" || !/^-?0x[1-9a-f][0-9a-f]*$/.test(payload)) {
    throw violation(`$int of ${show(payload)}, expected lower-case hex digits after 0x`);
  }
  const value = payload.startsWith("-") ? -BigInt(payload.slice(1)) : BigInt(payload);
  if (value >= -MAX_SAFE && value <= MAX_SAFE) throw violation(`$int of ${payload}, expected a bare number`);
  return value;
}

function decodeFloat(payload: unknown): number {
  if (payload === "nan") return Number.NaN;
  if (payload === "inf") return Number.POSITIVE_INFINITY;
  if (payload === "-inf") return Number.NEGATIVE_INFINITY;
  const isNumber =
    typeof payload === "string" &&
    payload.length <= 32 &&
    /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/.test(payload);
  const value = isNumber ? Number(payload) : Number.NaN;
  if (!Number.isInteger(value)) throw violation(`$float of ${show(payload)}, expected a number without fraction`);
  return value;
}

function needArray(tag: string, payload: unknown): unknown[] {
  if (!Array.isArray(payload)) throw violation(`${tag} of ${show(payload)}, expected an array`);
  return payload;
}

function decodeSet(items: readonly Value[]): Set<Value> {
  checkDistinct("$set", items);
  return new Set(items);
}

function decodeDict(pairs: readonly [Value, Value][]): Map<Value, Value> {
  const keys = pairs.map(([key]) => key);
  checkDistinct("$dict", keys);
  if (keys.every((key) => typeof key === "string" && isPlainKey(key))) throw violation("$dict of plain keys only");
  return new Map(pairs);
}

function checkDistinct(tag: string, keys: readonly Value[]): void {
  const seen = new Set<string>();
  for (const identity of keyIdentities(keys)) {
    if (identity === undefined) throw violation(`${tag} with a key that cannot be one`);
    if (seen.has(identity)) throw violation(`${tag} with the same key twice`);
    seen.add(identity);
  }
}

function keyIdentities(keys: readonly unknown[]): (string | undefined)[] {
  let nanCount = 0;
  const nextNan = () => `nan${nanCount++}`;
  return keys.map((key) => keyIdentity(key, nextNan));
}

/** A text that two keys share exactly when Python holds them for equal (NaN equals nothing); undefined: not a key. */
function keyIdentity(key: unknown, nextNan: () => string): string | undefined {
  if (key === null) return "null";
  if (typeof key === "string") return `s${key}`;
  if (typeof key === "boolean") return key ? "n1" : "n0";
  if (typeof key === "bigint") return `n${key.toString(16)}`; // decimal digits take time squared
  if (Number.isNaN(key)) return nextNan();
  if (typeof key === "number") return Number.isInteger(key) ? `n${BigInt(key).toString(16)}` : `n${key}`;
  if (key instanceof Float) return keyIdentity(key.value, nextNan);
  if (key instanceof Uint8Array)
    return `b${Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1")}`;
  if (!(key instanceof Tuple)) return undefined;
  const parts = key.items.map((item) => keyIdentity(item, nextNan));
  // Each with its length in front: quoting would double the text with every level of nesting.
  return parts.includes(undefined) ? undefined : `t${parts.map((part) => `${part?.length}:${part}`).join("")}`;
}

/** Levels of arrays and objects in data that an extension made. */
function nestingOf(data: unknown): number {
  if (typeof data !== "object" || data === null) return 0;
  return 1 + Object.values(data).reduce<number>((deepest, item) => Math.max(deepest, nestingOf(item)), 0);
}

function show(payload: unknown): string {
  return JSON.stringify(payload)?.slice(0, 60) ?? "nothing";
}

// Kinds: the one table of frame kinds, flags and limits, after docs/protocol.md (a test holds the two together).
// Must not know what a message means to whoever sends it.

/** Bits of the flags byte. */
export const FLAG = { reply: 1, last: 2, more: 4 } as const;

/** Whose counter the id comes from; "connection": the id is 0. */
type IdOwner = "connection" | "sender" | "receiver";

export interface Kind {
  readonly number: number;
  readonly id: IdOwner;
  /** Every value of the flags byte that this kind may have. */
  readonly flags: readonly number[];
  /** Name of the body; "empty": no body. */
  readonly body: "hello" | "call" | "result" | "error" | "event" | "attach" | "dial" | "empty";
  readonly attachments: boolean;
  /** Both hellos must name it; absent: part of every version. */
  readonly feature?: string;
}

const NONE = [0];
const RESULT = [1, 3, 5, 7];

/** The kinds by name. */
export const KINDS = {
  hello: { number: 1, id: "connection", flags: NONE, body: "hello", attachments: false },
  call: { number: 2, id: "sender", flags: [0, 4], body: "call", attachments: true },
  result: { number: 3, id: "receiver", flags: RESULT, body: "result", attachments: true },
  error: { number: 4, id: "receiver", flags: [3], body: "error", attachments: false },
  event: { number: 5, id: "receiver", flags: [1, 5], body: "event", attachments: true },
  cancel: { number: 6, id: "sender", flags: NONE, body: "empty", attachments: false },
  release: { number: 7, id: "receiver", flags: [0, 4], body: "empty", attachments: false },
  ping: { number: 8, id: "connection", flags: NONE, body: "empty", attachments: false },
  pong: { number: 9, id: "connection", flags: NONE, body: "empty", attachments: false },
  attach: { number: 10, id: "sender", flags: NONE, body: "attach", attachments: false, feature: "segments" },
  dial: { number: 11, id: "connection", flags: NONE, body: "dial", attachments: false, feature: "dial" },
  stop: { number: 12, id: "connection", flags: NONE, body: "empty", attachments: false },
} as const satisfies Record<string, Kind>;

export type KindName = keyof typeof KINDS;

/** The kinds by their number on the wire; index 0 is empty. */
export const KIND_BY_NUMBER: readonly (readonly [KindName, Kind] | undefined)[] = Object.entries(KINDS).reduce<
  [KindName, Kind][]
>((kinds, [name, kind]) => {
  kinds[kind.number] = [name as KindName, kind];
  return kinds;
}, []);

const KiB = 1024;
const MiB = 1024 * KiB;

export const PROTOCOL_VERSIONS = { min: 1, max: 1 } as const;

/** Bounds of the wire; the same for every peer. */
export const WIRE = {
  headerBytes: 16,
  bodyStepBytes: 16,
  bodyBytes: 16 * MiB,
  helloBytes: 4096,
  attachmentStepBytes: 64,
  /** Most attachment bytes of one frame; longer areas are cut. */
  attachmentBytes: 4 * MiB,
  nesting: 64,
  causes: 8,
  errorTextChars: 65_536,
  maxId: 2 ** 32 - 1,
  maxCalls: 65_536,
  maxItems: 65_536,
  maxVersion: 65_535,
  segmentStepBytes: 4096,
} as const;

/** What one side accepts, stated in its hello. */
export interface Limits {
  /** Calls of the other side in flight. */
  readonly calls: number;
  /** Attachment bytes of one message. */
  readonly messageBytes: number;
  /** Items of one stream that were not asked for one by one; 0: no streams. */
  readonly items: number;
}

export const DEFAULT_LIMITS: Limits = { calls: 64, messageBytes: 2 ** 31, items: 16 };

/** How much one side takes on at a time. Not part of the wire: the other side cannot see them. */
export const PACE = {
  /** Bytes that wait to be written before new messages wait in their turn. */
  outboundBytes: 32 * MiB,
  /** Frames and bytes of one connection handled before other work of the event loop gets its turn. */
  turnFrames: 64,
  turnBytes: 256 * KiB,
  /** How long a call that is no longer wanted may go on. */
  stuckMs: 5000,
} as const;

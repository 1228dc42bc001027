// Errors: the one error family of pyisolate. Codes are API: hosts switch on them, docs/errors.md lists them,
// and the command line turns each into an exit status. Nothing else in the project defines an error class.

/** What a code means, and the exit status the command line gives it. docs/errors.md repeats this table. */
export const ERROR_CODES = {
  USAGE: { exit: 2, meaning: "the command line, or a call of the library, was given what it does not take" },

  MANIFEST_NOT_FOUND: { exit: 3, meaning: "the folder has no manifest.yaml, or there is no such folder" },
  MANIFEST_INVALID: { exit: 3, meaning: "the manifest breaks a rule; the message has file, line and column" },
  POLICY_INVALID: { exit: 3, meaning: "the operator's policy breaks a rule; the message has file, line and column" },
  POLICY_REFUSED: { exit: 3, meaning: "the manifest asks for more than the operator's policy allows" },

  ENGINE_UNAVAILABLE: { exit: 4, meaning: "no Docker Engine answers on the socket" },
  ENGINE_NOT_PERMITTED: { exit: 4, meaning: "a Docker Engine is there, but this user may not use it" },
  ENGINE_UNSUPPORTED: { exit: 4, meaning: "the engine is too old, remote, or on another kernel" },
  ENGINE_FAILED: { exit: 4, meaning: "the engine refused or failed a request that should have worked" },

  BASE_UNAVAILABLE: { exit: 5, meaning: "the base image can neither be pulled nor made here" },
  DEPENDENCY_UNRESOLVED: { exit: 5, meaning: "uv found no versions that fit the manifest, or cannot get one of them" },
  IMAGE_BUILD_FAILED: { exit: 5, meaning: "a build step of an image failed" },
  IMAGE_TOO_LARGE: { exit: 5, meaning: "the pack's image is larger than max_image" },
  SOURCE_INVALID: { exit: 5, meaning: "the pack's folder holds something that cannot be copied into an image" },

  LIMIT_NOT_ENFORCED: { exit: 6, meaning: "the kernel does not enforce a limit that was asked for" },
  ISOLATION_UNAVAILABLE: {
    exit: 6,
    meaning: "a part of the sandbox is missing here, or this version cannot do what is asked",
  },
  PACK_START_FAILED: { exit: 6, meaning: "the pack's process ended before it was loaded" },
  PACK_START_TIMEOUT: { exit: 6, meaning: "the pack's process did not say hello, or did not load, in time" },
  PACK_LOAD_FAILED: { exit: 6, meaning: "importing the pack's module raised" },
  PACK_DIED: { exit: 6, meaning: "the pack's process ended while it was in use" },
  PACK_OUT_OF_MEMORY: { exit: 6, meaning: "the kernel killed the pack for using more than max_memory" },
  PACK_UNRESPONSIVE: { exit: 6, meaning: "the pack was ended because a node in it went on after its call was over" },
  PACK_STOPPED: { exit: 6, meaning: "the extension was stopped by this program" },

  NODE_UNKNOWN: { exit: 7, meaning: "the pack has no node of that id" },
  INPUT_MISSING: { exit: 7, meaning: "a required input of the node was not given" },
  INPUT_INVALID: { exit: 7, meaning: "an input does not fit the type the node declares" },
  PICTURE_INVALID: { exit: 7, meaning: "a file is not a picture that can be read, or a value is not one to write" },

  NODE_FAILED: { exit: 8, meaning: "the node's own code raised" },
  CALL_TIMEOUT: { exit: 8, meaning: "the call took longer than its time limit" },
  CALL_CANCELLED: { exit: 8, meaning: "the caller cancelled the call" },

  VALUE_UNSUPPORTED: { exit: 9, meaning: "a value has no form on the wire" },
  TENSOR_INVALID: { exit: 9, meaning: "a tensor's dtype, shape, strides and bytes do not fit together" },
  TENSOR_RELEASED: { exit: 9, meaning: "a tensor was read after it was released, or after its pack ended" },
  SHARED_MEMORY_EXHAUSTED: {
    exit: 9,
    meaning: "a tensor needs more shared memory than the pack or the program may use",
  },
  METHOD_UNKNOWN: { exit: 9, meaning: "the peer offers no method of that name" },
  REMOTE_ERROR: { exit: 9, meaning: "the other side's code raised outside a node" },
  PROTOCOL_MISMATCH: { exit: 9, meaning: "the two peers speak no common version of the protocol" },
  PROTOCOL_VIOLATION: { exit: 9, meaning: "the peer sent bytes that break the protocol; the connection is closed" },
  PEER_BROKEN: { exit: 9, meaning: "the connection ended from the other side" },
  PEER_CLOSED: { exit: 9, meaning: "the connection was closed by this side" },
} as const satisfies Record<string, { exit: number; meaning: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** What a code alone cannot say. `next` is the next step for a person; the rest is for programs. */
export interface ErrorDetails {
  /** One sentence or command that mends it. */
  readonly next?: string;
  /** The exception raised on the other side, when there was one. */
  readonly remote?: RemoteException;
  /** The last lines a pack or a build step printed, oldest first. */
  readonly logTail?: readonly string[];
  readonly [key: string]: unknown;
}

/** An exception as the other side described it. Text only: nothing of it was constructed here. */
export interface RemoteException {
  /** Class name as the other language spells it, e.g. "ValueError". */
  readonly type: string;
  readonly message: string;
  /** Its arguments: values of the wire, text where an argument has no wire form. */
  readonly args: readonly unknown[];
  /** Formatted traceback, "" when the peer sent none. */
  readonly traceback: string;
}

/** The one error class. The message says what failed, which thing, expected and got; `details.next` the next step. */
export class PyisolateError extends Error {
  override readonly name = "PyisolateError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

/** Whether `error` is one of ours, and of `code` when one is given. */
export function isPyisolateError(error: unknown, code?: ErrorCode): error is PyisolateError {
  return error instanceof PyisolateError && (code === undefined || error.code === code);
}

// LockText: what a lock file says, read and written. Pure. A lock is a requirements file with hashes, made by uv, under a few
// comment lines that say what it was made for. It holds no address of an index. Packs bring their own: it is not trusted.

import type { PythonVersion } from "../manifest/manifest.ts";
import { digestOf } from "./digest.ts";
import { formatPins, parsePins } from "./pins.ts";
import type { LocalWheel, Requirements } from "./requirements.ts";

/** What a lock must fit. */
export interface LockRequest {
  readonly python: PythonVersion;
  /** As Node names it: x64, arm64. */
  readonly architecture: string;
  /** Nothing is built from source. */
  readonly wheelsOnly: boolean;
  readonly requirements: Requirements;
}

/** A lock that fits its request. */
export interface Lock {
  /** The whole text, as it is stored. */
  readonly text: string;
  /** What uv gets: the pins, written anew. */
  readonly body: string;
  readonly wheels: readonly LocalWheel[];
}

const formatLine = "# pyisolate lock 1";

/** Names the request; the first bytes of a lock repeat it. */
export function requestDigest(request: LockRequest): string {
  const { python, architecture, wheelsOnly, requirements } = request;
  const lines = requirements.entries.map(({ line }) => line);
  return digestOf(["lock 1", python, architecture, wheelsOnly, lines, requirements.wheels.map(({ digest }) => digest)]);
}

/** A lock's text, around what uv wrote. */
export function writeLockText(request: LockRequest, resolved: string): string {
  return [
    formatLine,
    `# for: ${requestDigest(request)}`,
    `# python ${request.python}, linux ${request.architecture}${request.wheelsOnly ? ", wheels only" : ""}`,
    ...request.requirements.entries.map(({ line }) => `# asked: ${line}`),
    resolved.trim(),
    "",
  ].join("\n");
}

/**
 * undefined when `text` is no lock, or one that was made for something else. Raises DEPENDENCY_UNRESOLVED for a line that is
 * no pin; `from` names the text.
 */
export function parseLock(text: string, request: LockRequest, from: string): Lock | undefined {
  const lines = text.split(/\r?\n/);
  if (lines[0] !== formatLine || lines[1] !== `# for: ${requestDigest(request)}`) return undefined;
  return { text, body: formatPins(parsePins(lines, request.requirements, from)), wheels: request.requirements.wheels };
}

// Progress: BuildKit's trace, decoded. The engine sends it as base64 of a protobuf StatusResponse
// (moby/buildkit api/services/control/control.proto), of which we need six fields; the rest is skipped.

import type { EngineProgress } from "./engine.ts";

/** Lines kept of each running step, for the error when it fails. */
const keptLines = 200;

/** Steps that BuildKit adds by itself; they say nothing to a user. */
const internalStep = /^(\[internal\]|copy \/context|exporting to image$)/;

interface Step {
  readonly name: string;
  readonly lines: string[];
  /** Text printed after the last line break. */
  rest: string;
  isStarted: boolean;
  isEnded: boolean;
  hasFailed: boolean;
}

/** Turns the events of a build into EngineProgress, and remembers which step failed and what it had printed. */
export class BuildProgressReader {
  readonly #report: (event: EngineProgress) => void;
  readonly #steps = new Map<string, Step>();

  constructor(report: (event: EngineProgress) => void = () => {}) {
    this.#report = report;
  }

  /** Takes one JSON object of the build's stream; objects that are no trace are passed over. */
  take(event: Readonly<Record<string, unknown>>): void {
    if (event.id !== "moby.buildkit.trace" || typeof event.aux !== "string") return;
    for (const { field, bytes } of readFields(Buffer.from(event.aux, "base64"))) {
      if (field === 1) this.#takeVertex(bytes);
      else if (field === 2) this.#takeStatus(bytes);
      else if (field === 3) this.#takeLog(bytes);
    }
  }

  /** After the last event: lines without a line break. A step's log may come after its end, so no sooner. */
  end(): void {
    for (const step of this.#steps.values()) {
      this.#reportLine(step, step.rest);
      step.rest = "";
    }
  }

  failedStep(): { readonly name: string; readonly lines: readonly string[] } | undefined {
    return [...this.#steps.values()].find((step) => step.hasFailed);
  }

  #takeVertex(bytes: Buffer): void {
    const vertex = { digest: "", name: "", error: "", isCached: false, isStarted: false, isCompleted: false };
    for (const { field, bytes: value, number } of readFields(bytes)) {
      if (field === 1) vertex.digest = value.toString("utf8");
      else if (field === 3) vertex.name = value.toString("utf8");
      else if (field === 4) vertex.isCached = number !== 0;
      else if (field === 5) vertex.isStarted = true;
      else if (field === 6) vertex.isCompleted = true;
      else if (field === 7) vertex.error = value.toString("utf8");
    }
    const step = this.#step(vertex.digest, vertex.name);
    if (step.isEnded) return;
    if (vertex.isStarted && !step.isStarted && !vertex.isCached) this.#reportStep(step, "started");
    step.isStarted ||= vertex.isStarted;
    step.hasFailed ||= vertex.error !== "" && !vertex.error.includes("context canceled");
    step.isEnded = vertex.isCached || vertex.isCompleted;
    if (!step.isEnded) return;
    this.#reportStep(step, vertex.error !== "" ? "failed" : vertex.isCached ? "cached" : "done");
  }

  #takeStatus(bytes: Buffer): void {
    const status = { id: "", doneBytes: 0, totalBytes: 0 };
    for (const { field, bytes: value, number } of readFields(bytes)) {
      if (field === 1) status.id = value.toString("utf8");
      else if (field === 4) status.doneBytes = number;
      else if (field === 5) status.totalBytes = number;
    }
    if (status.doneBytes === 0) return;
    this.#report({ type: "bytes", name: status.id, doneBytes: status.doneBytes, totalBytes: status.totalBytes });
  }

  #takeLog(bytes: Buffer): void {
    let digest = "";
    let text = "";
    for (const { field, bytes: value } of readFields(bytes)) {
      if (field === 1) digest = value.toString("utf8");
      else if (field === 4) text = value.toString("utf8");
    }
    const step = this.#step(digest, "");
    const lines = (step.rest + text).split(/\r?\n|\r/);
    step.rest = lines.pop() ?? "";
    for (const line of lines) this.#reportLine(step, line);
  }

  #reportLine(step: Step, line: string): void {
    if (line.trim() === "") return;
    step.lines.push(line);
    if (step.lines.length > keptLines) step.lines.shift();
    this.#report({ type: "log", line });
  }

  #step(digest: string, name: string): Step {
    const known = this.#steps.get(digest);
    if (known !== undefined) return known;
    const step: Step = {
      name: readableStep(name),
      lines: [],
      rest: "",
      isStarted: false,
      isEnded: false,
      hasFailed: false,
    };
    this.#steps.set(digest, step);
    return step;
  }

  #reportStep(step: Step, state: "started" | "cached" | "done" | "failed"): void {
    if (internalStep.test(step.name)) return;
    this.#report({ type: "step", name: step.name, state });
  }
}

/** A step without its mounts, on one line. */
function readableStep(name: string): string {
  return name.replace(/\s+/g, " ").replace(/--mount=\S+ /g, "");
}

interface Field {
  readonly field: number;
  /** Content of a length-delimited field, else empty. */
  readonly bytes: Buffer;
  /** Value of a varint field, else 0. Exact up to 2^53. */
  readonly number: number;
}

/** The fields of a protobuf message, in order. Stops at what is cut off: progress is no place to fail a build. */
function* readFields(message: Buffer): Generator<Field> {
  const none = Buffer.alloc(0);
  let at = 0;
  const readVarint = (): number => {
    let value = 0;
    for (let factor = 1; at < message.length; factor *= 128) {
      const byte = message[at++] as number;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) break;
    }
    return value;
  };
  while (at < message.length) {
    const key = readVarint();
    const field = Math.floor(key / 8);
    const wireType = key % 8;
    if (wireType === 0) yield { field, bytes: none, number: readVarint() };
    else if (wireType === 2) {
      const length = readVarint();
      yield { field, bytes: message.subarray(at, at + length), number: 0 };
      at += length;
    } else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else return;
  }
}

// Problems: what is wrong with one file, all of it, in the order of the file, as one error.

import { type ErrorCode, PyisolateError } from "../errors.ts";
import { formatPosition, type SourcePosition } from "./manifest.ts";
import { placeName } from "./text.ts";

/** What a file says and where. Pointers are JSON pointers; "" is the whole. */
export interface Source {
  readonly file: string;
  readonly data: unknown;
  /** Where a key or a value stands; the nearest place around it when it stands nowhere. */
  position(pointer: string, part?: "key" | "value"): SourcePosition;
}

export interface Problem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

const SHOWN_PROBLEMS = 20;

export class Problems {
  readonly #code: ErrorCode;
  readonly #file: string;
  readonly #next: string;
  readonly #found: Problem[] = [];
  readonly #pointers = new Set<string>();

  constructor(code: "MANIFEST_INVALID" | "POLICY_INVALID", file: string) {
    this.#code = code;
    this.#file = file;
    this.#next = `Correct ${file}; every key is described in docs/manifest.md.`;
  }

  /** Notes a problem of the file itself. */
  add(at: SourcePosition, message: string): void {
    this.#found.push({ ...at, message });
  }

  /** Notes a problem of the value at `pointer`, the first one found there only. */
  addAt(source: Source, pointer: string, message: string, part: "key" | "value" = "value"): void {
    if (this.#pointers.has(pointer)) return;
    this.#pointers.add(pointer);
    const place = placeName(pointer);
    this.add(source.position(pointer, part), place === "" ? message : `${place}: ${message}`);
  }

  /** Whether anything was found at `pointer` or inside it. */
  isIn(pointer: string): boolean {
    return [...this.#pointers].some((found) => found === pointer || found.startsWith(`${pointer}/`));
  }

  /** Raises the code given at construction: one line per problem, the first one of the file first. */
  throwIfAny(): void {
    const sorted = this.#found.toSorted((a, b) => a.line - b.line || a.column - b.column);
    const [first] = sorted;
    if (first === undefined) return;
    const lines = sorted
      .slice(0, SHOWN_PROBLEMS)
      .map((problem) => `${formatPosition(this.#file, problem)}: ${problem.message}`);
    if (sorted.length > SHOWN_PROBLEMS) lines.push(`… and ${sorted.length - SHOWN_PROBLEMS} more`);
    throw new PyisolateError(this.#code, lines.join("\n"), {
      file: this.#file,
      line: first.line,
      column: first.column,
      problems: sorted,
      next: this.#next,
    });
  }
}

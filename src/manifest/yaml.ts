// YAML: text → plain data, and where every key and value of it stands. Must not know any key.
// Of YAML only mappings, lists and scalars are let in: what makes a file mean something else than it shows is refused.

import {
  Composer,
  type CST,
  type Document,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  Parser,
  type YAMLMap,
} from "yaml";
import type { SourcePosition } from "./manifest.ts";
import { Problems, type Source } from "./problems.ts";
import { describe, pointerTo, quote, visible } from "./text.ts";

/** Both far beyond any file that people write. */
const LARGEST_TEXT = 256 * 1024;
const DEEPEST_NESTING = 32;

export interface YamlOptions {
  readonly code: "MANIFEST_INVALID" | "POLICY_INVALID";
  /** What the file is, for messages: "manifest" or "policy". */
  readonly noun: string;
  /** Places whose plain scalars are text as it is written: a version 1.10 is "1.10", not 1.1. */
  isText(pointer: string): boolean;
}

/** Reads one YAML mapping. Raises `options.code` with file:line:column. */
export function readYaml(text: string, file: string, options: YamlOptions): Source {
  const problems = new Problems(options.code, file);
  const start = { line: 1, column: 1 };
  if (text.length > LARGEST_TEXT) {
    problems.add(start, `the ${options.noun} has ${text.length} characters, expected at most ${LARGEST_TEXT}`);
    problems.throwIfAny();
  }
  const lines = new LineCounter();
  const at = (offset: number): SourcePosition => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const tokens = [...new Parser(lines.addNewLine).parse(text)];
  refuseTokens(tokens, at, problems);
  problems.throwIfAny();

  const composer = new Composer({ prettyErrors: false, uniqueKeys: false });
  const documents = [...composer.compose(tokens, true, text.length)] as Document.Parsed[];
  const syntaxError = documents.flatMap((document) => document.errors)[0];
  if (syntaxError !== undefined) problems.add(at(syntaxError.pos[0]), `not YAML: ${visible(syntaxError.message)}`);
  const [first, second] = documents;
  if (second !== undefined) {
    problems.add(at(second.range[0]), `a second YAML document begins here, expected one ${options.noun} in a file`);
  }
  problems.throwIfAny();

  const root = first?.contents ?? null;
  if (root === null || (isScalar(root) && root.value === null)) {
    problems.add(start, `the file is empty, expected a ${options.noun}: a mapping of keys to values`);
  } else if (!isMap(root)) {
    const got = isScalar(root) ? describe(root.value) : "a list";
    problems.add(at(root.range[0]), `expected a ${options.noun}: a mapping of keys to values, got ${got}`);
  }
  problems.throwIfAny();

  const reader = new Reader(at, options.isText, problems);
  const data = reader.read(root as ParsedNode, "");
  problems.throwIfAny();
  return { file, data, position: (pointer, part = "value") => reader.position(pointer, part) };
}

const REFUSED_TOKENS: Readonly<Record<string, (shown: string) => string>> = {
  anchor: (shown) => `anchor ${shown} is not supported; write the value out where it is used`,
  alias: (shown) => `alias ${shown} is not supported; write the value out, or put text that begins with * in quotes`,
  tag: (shown) => `tag ${shown} is not supported; put text that begins with ! in quotes`,
  directive: (shown) => `directive ${shown} is not supported; the file is read as YAML 1.2`,
};

/** Looks through the tokens before anything is made of them: every refused one, and nesting that is too deep. */
function refuseTokens(tokens: readonly CST.Token[], at: (offset: number) => SourcePosition, problems: Problems): void {
  const left: { node: object; depth: number }[] = tokens.map((node) => ({ node, depth: 0 }));
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { node, depth } = next;
    const { type, source, offset } = node as { type?: string; source?: string; offset?: number };
    const refusal = type === undefined ? undefined : REFUSED_TOKENS[type];
    if (refusal !== undefined) problems.add(at(offset ?? 0), refusal(visible(source ?? "")));
    const inner = depth + ("items" in node ? 1 : 0);
    if (inner > DEEPEST_NESTING) {
      problems.add(at(offset ?? 0), `nested more than ${DEEPEST_NESTING} deep`);
      return;
    }
    for (const child of Object.values(node)) {
      if (typeof child === "object" && child !== null) left.push({ node: child, depth: inner });
    }
  }
}

/** Nodes → plain data; mappings have no prototype, so that no key is special. */
class Reader {
  readonly #at: (offset: number) => SourcePosition;
  readonly #isText: (pointer: string) => boolean;
  readonly #problems: Problems;
  readonly #keys = new Map<string, SourcePosition>();
  readonly #values = new Map<string, SourcePosition>();

  constructor(at: (offset: number) => SourcePosition, isText: (pointer: string) => boolean, problems: Problems) {
    this.#at = at;
    this.#isText = isText;
    this.#problems = problems;
  }

  read(node: ParsedNode | null, pointer: string): unknown {
    if (node === null) return null;
    this.#values.set(pointer, this.#at(node.range[0]));
    if (isMap(node)) return this.#readMap(node as YAMLMap.Parsed, pointer);
    if (isSeq(node)) {
      return node.items.map((item, index) => this.read(item as ParsedNode, pointerTo(pointer, index)));
    }
    if (!isScalar(node)) return null;
    if (node.value === null) {
      if (this.#keys.has(pointer) && node.source === "") this.#values.delete(pointer);
      return null;
    }
    return typeof node.value !== "string" && this.#isText(pointer) ? (node.source ?? String(node.value)) : node.value;
  }

  #readMap(map: YAMLMap.Parsed, pointer: string): Record<string, unknown> {
    const data: Record<string, unknown> = Object.create(null);
    for (const { key, value } of map.items) {
      const at = this.#at(key.range[0]);
      if (!isScalar(key) || typeof key.value !== "string") {
        const got = isScalar(key) ? `${describe(key.value)}; put it in quotes` : isMap(key) ? "a mapping" : "a list";
        this.#problems.add(at, `expected a key that is text, got ${got}`);
        continue;
      }
      const inner = pointerTo(pointer, key.value);
      const earlier = this.#keys.get(inner);
      if (earlier !== undefined) {
        this.#problems.add(at, `key ${quote(key.value)} stands here again, it is already in line ${earlier.line}`);
        continue;
      }
      this.#keys.set(inner, at);
      data[key.value] = this.read(value as ParsedNode | null, inner);
    }
    return data;
  }

  position(pointer: string, part: "key" | "value"): SourcePosition {
    const first = part === "key" ? this.#keys : this.#values;
    const found = first.get(pointer) ?? this.#keys.get(pointer) ?? this.#values.get(pointer);
    if (found !== undefined) return found;
    return pointer === "" ? { line: 1, column: 1 } : this.position(pointer.slice(0, pointer.lastIndexOf("/")), "value");
  }
}

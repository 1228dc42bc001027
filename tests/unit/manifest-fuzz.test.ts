// Whatever the text is, reading it ends in a value or in one of our errors with a place in it.

import fc from "fast-check";
import { expect, test } from "vitest";
import { PyisolateError } from "../../src/errors.ts";
import { KEYS, MANIFEST_KEYS } from "../../src/manifest/keys.ts";
import type { ExtensionConfig } from "../../src/manifest/manifest.ts";
import { manifestFromConfig, parseManifest } from "../../src/manifest/parse.ts";
import { defaultPolicy, parsePolicy } from "../../src/manifest/policy.ts";

const context = { policy: defaultPolicy(), machine: { memoryBytes: 16 * 1024 ** 3, cpus: 4 } };

function expectOneOfOurs(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof PyisolateError)) throw error;
    expect(error.message).toMatch(/^(?:file:[1-9]\d*:[1-9]\d*|config): /);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may reach a terminal
    expect(error.message).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  }
}

const words = ["name", "levels", "packs", ":", " ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "#", "'", '"', "|", ">"];
const odd = [
  "&x",
  "*x",
  "!t",
  "%YAML 1.1",
  "---",
  "...",
  "? ",
  "<<",
  "\t",
  "\u0000",
  "\ufeff",
  "1.0",
  "null",
  "~",
  "\ud800",
];
const yamlLike = fc
  .array(fc.oneof(fc.constantFrom(...words, ...odd, ...MANIFEST_KEYS), fc.string({ unit: "binary", maxLength: 5 })))
  .map((parts) => parts.join(""));
const keyed = fc
  .array(fc.tuple(fc.constantFrom(...MANIFEST_KEYS), fc.oneof(fc.json(), yamlLike)), { maxLength: 6 })
  .map((lines) => lines.map(([key, value]) => `${key}: ${value}`).join("\n"));
const example = fc
  .tuple(fc.constantFrom(...MANIFEST_KEYS), fc.nat(), fc.nat(8), fc.string({ unit: "binary", maxLength: 4 }))
  .map(([key, at, removed, added]) => {
    const text = `name: p\nversion: 1\n${KEYS[key].example}\n`;
    const place = at % text.length;
    return text.slice(0, place) + added + text.slice(place + removed);
  });

test("any text is a manifest or one of our errors", () => {
  const text = fc.oneof(fc.string({ unit: "binary" }), yamlLike, keyed, example);
  fc.assert(
    fc.property(text, (input) => expectOneOfOurs(() => parseManifest(input, "file", context))),
    { numRuns: 3000 },
  );
});

test("any text is a policy or one of our errors", () => {
  const inner = fc
    .tuple(fc.constantFrom("levels: {a: {caps: ", "levels: {a: {defaults: ", "packs: {a: "), keyed)
    .map(([start, text]) => `${start}{${text.replaceAll("\n", ", ")}}}}`);
  fc.assert(
    fc.property(fc.oneof(yamlLike, inner), (input) => expectOneOfOurs(() => parsePolicy(input, "file"))),
    { numRuns: 2000 },
  );
});

test("any object is a config or one of our errors", () => {
  const config = fc.dictionary(
    fc.oneof(fc.constantFrom(...MANIFEST_KEYS), fc.string()),
    fc.anything({ withBigInt: true }),
  );
  fc.assert(
    fc.property(config, (input) =>
      expectOneOfOurs(() => manifestFromConfig(input as ExtensionConfig, undefined, context)),
    ),
    { numRuns: 2000 },
  );
});

test("every example of the table parses with a policy that grants it, but for what this version cannot do", () => {
  const policy = parsePolicy(
    `packs: {p: {level: trusted, mounts: [{source: /srv}], indexes: [https://packages.example.com/simple],
      find_links: [./wheels], services: [ModelManager], routes: [/my_node_pack/status], web: [./web]}}`,
    "policy.yaml",
  );
  for (const key of MANIFEST_KEYS) {
    const required = { name: "name: p\n", version: "version: 1\n" };
    const head = Object.entries(required)
      .map(([name, line]) => (name === key ? "" : line))
      .join("");
    const read = () =>
      parseManifest(`${head}${KEYS[key].example}\n`, "manifest.yaml", {
        ...context,
        policy: key === "name" ? defaultPolicy() : policy,
      });
    if (KEYS[key].notYet?.isAsked === undefined) expect(read().stated.has(key)).toBe(true);
    else expect(read, key).toThrow(`: ${key}: asks for `);
  }
});

// What this version cannot do is refused when the manifest is read, also where the policy grants it; nothing is accepted and dropped.

import { describe, expect, test } from "vitest";
import { PyisolateError } from "../../src/errors.ts";
import { KEYS, MANIFEST_KEYS } from "../../src/manifest/keys.ts";
import { manifestFromConfig, parseManifest } from "../../src/manifest/parse.ts";
import { defaultPolicy, parsePolicy } from "../../src/manifest/policy.ts";

const machine = { memoryBytes: 16 * 1024 ** 3, cpus: 4 };
const head = "name: my_pack\nversion: 1.0.0\n";

function read(lines: string, policyText = "") {
  const policy = policyText === "" ? defaultPolicy() : parsePolicy(policyText, "policy.yaml");
  return parseManifest(`${head}${lines}\n`, "m.yaml", { policy, machine });
}

function refusalOf(attempt: () => unknown): PyisolateError {
  try {
    attempt();
  } catch (error) {
    if (error instanceof PyisolateError) return error;
    throw error;
  }
  throw new Error("expected a refusal");
}

const cases = [
  [
    "network: [a.com]",
    "m.yaml:3:10",
    'network: asks for ["a.com"]; this version cannot hold a pack to a list of hosts',
  ],
  ["gpu: true", "m.yaml:3:6", "gpu: asks for true; this version cannot give a pack a GPU"],
  ["gpu: {count: 2}", "m.yaml:3:6", 'gpu: asks for {"count":2}; this version cannot'],
  ["gpu: {ids: [0]}", "m.yaml:3:6", 'gpu: asks for {"ids":["0"]}; this version cannot'],
  ["indexes: [https://x.example.com/s]", "m.yaml:3:10", "this version cannot ask other package indexes"],
  ["find_links: [./w]", "m.yaml:3:13", 'find_links: asks for ["./w"]; this version cannot look for wheels'],
  ["services: [S]", "m.yaml:3:11", 'services: asks for ["S"]; this version cannot let a pack call services'],
  ["routes: [/r]", "m.yaml:3:9", "this version cannot serve a pack's routes"],
  ["web: [./web]", "m.yaml:3:6", "this version cannot serve a pack's web files"],
] as const;

describe.each(cases)("%s", (line, place, message) => {
  test("is the policy's to refuse first", () => {
    expect(refusalOf(() => read(line)).code).toBe("POLICY_REFUSED");
  });

  test("is refused where the policy grants it", () => {
    const error = refusalOf(() => read(line, `packs: {my_pack: {${line}}}`));
    expect(error.code).toBe("ISOLATION_UNAVAILABLE");
    expect(error.message.startsWith(`${place}: `)).toBe(true);
    expect(error.message).toContain(message);
    expect(error.details.next).toContain(`Remove ${line.split(":")[0]}`);
    expect(error.details).toMatchObject({ file: "m.yaml", line: 3 });
  });
});

test("every key of the table that can be asked for and not be had is tried above", () => {
  const tried = new Set(cases.map(([line]) => line.split(":")[0]));
  expect(MANIFEST_KEYS.filter((key) => KEYS[key].notYet?.isAsked !== undefined).sort()).toEqual([...tried].sort());
});

test.each([
  "network: []",
  "gpu: false",
  "gpu: optional",
  "indexes: []",
  "services: []",
  "max_shm: 1GB",
  "data: 1GB",
  "share_torch: true",
])("%s asks for nothing that cannot be had", (line) => {
  expect(read(line)).toBeDefined();
});

test("all of them are listed, and a config object's has its place", () => {
  const grants = (name: string) => `packs: {${name}: {web: [./web], network: [a.com], services: [S]}}`;
  const error = refusalOf(() => read("web: [./web]\nnetwork: [a.com]", grants("my_pack")));
  expect(error.message.split("\n").map((line) => line.split(": ").slice(0, 2).join(": "))).toEqual([
    "m.yaml:3:6: web",
    "m.yaml:4:10: network",
  ]);
  const config = { name: "p", services: ["S"] };
  const stated = refusalOf(() =>
    manifestFromConfig(config, undefined, { policy: parsePolicy(grants("p"), "policy.yaml"), machine }),
  );
  expect(stated.message).toMatch(/^config: services: asks for \["S"\]; this version cannot/);
});

test("what a level gives unasked is refused as well, with the policy's name", () => {
  const policy = "levels: {mine: {defaults: {network: [a.com]}}}\npacks: {my_pack: {level: mine}}";
  const error = refusalOf(() => read("", policy));
  expect(error).toMatchObject({ code: "ISOLATION_UNAVAILABLE", details: { file: "policy.yaml", key: "network" } });
  expect(error.message).toMatch(/^policy\.yaml: levels\.mine\.defaults: network: asks for \["a\.com"\]; /);
  expect(read("network: none", policy).network).toBe("none");
});

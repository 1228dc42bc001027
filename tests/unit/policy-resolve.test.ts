// What the policy makes of a manifest: refused, granted, or filled in.

import { describe, expect, test } from "vitest";
import { PyisolateError } from "../../src/errors.ts";
import type { Manifest } from "../../src/manifest/manifest.ts";
import { manifestFromConfig, parseManifest } from "../../src/manifest/parse.ts";
import { defaultPolicy, parsePolicy } from "../../src/manifest/policy.ts";

const GB = 1024 ** 3;
const machine = { memoryBytes: 16 * GB, cpus: 4 };
const head = "name: my_pack\nversion: 1.0.0\n";

/** Reads a manifest's third line under a policy's text; "" is no policy file. */
function resolve(manifestLine: string, policyText = ""): Manifest {
  const policy = policyText === "" ? defaultPolicy() : parsePolicy(policyText, "policy.yaml");
  return parseManifest(`${head}${manifestLine}\n`, "m.yaml", { policy, machine });
}

function refusalOf(manifestLine: string, policyText = ""): PyisolateError {
  try {
    resolve(manifestLine, policyText);
  } catch (error) {
    if (error instanceof PyisolateError && error.code === "POLICY_REFUSED") return error;
    throw error;
  }
  throw new Error(`expected a refusal of ${manifestLine}`);
}

describe("without a policy file", () => {
  const git = "git+https://github.com/org/repo.git@v1.0";
  const build = (entry: string, column: number) =>
    `m.yaml:3:${column}: dependencies: "${entry}" has to be built from its source, but level "untrusted" allows wheels only; level "trusted" allows it`;
  test.each([
    [
      "max_memory: 12.5GB",
      'm.yaml:3:13: max_memory: asked for 12.5GB, level "untrusted" allows 12GB',
      "max_memory: 12.5GB",
    ],
    ["max_pids: 4097", 'm.yaml:3:11: max_pids: asked for 4097, level "untrusted" allows 4096', "max_pids: 4097"],
    ["max_shm: 9GB", 'm.yaml:3:10: max_shm: asked for 9GB, level "untrusted" allows 8GB', "max_shm: 9GB"],
    ["max_tmp: 9GB", 'm.yaml:3:10: max_tmp: asked for 9GB, level "untrusted" allows 8GB', "max_tmp: 9GB"],
    ["data: 1TB", 'm.yaml:3:7: data: asked for 1TB, level "untrusted" allows 100GB', "data: 1TB"],
    ["max_image: 51GB", 'm.yaml:3:12: max_image: asked for 51GB, level "untrusted" allows 50GB', "max_image: 51GB"],
    ["timeout: none", 'm.yaml:3:10: timeout: asked for none, level "untrusted" allows 86400', "timeout: none"],
    ["network: full", 'm.yaml:3:10: network: asked for full, level "untrusted" allows none', "network: full"],
    [
      "mounts: [{source: /srv, target: /x}]",
      'm.yaml:3:9: mounts: asked for [{"source":"/srv"}], level "untrusted" allows none',
      'mounts: [{"source":"/srv"}]',
    ],
    ["isolated: false", 'm.yaml:3:11: isolated: asked for false, level "untrusted" allows true', "isolated: false"],
    ["runtime: runc", 'm.yaml:3:10: runtime: asked for runc, level "untrusted" allows runsc', "runtime: runc"],
    [`dependencies: [numpy, ${git}]`, build(git, 23), "level: trusted"],
    ["dependencies: [x @ https://e.com/x.tar.gz]", build("x @ https://e.com/x.tar.gz", 16), "level: trusted"],
    ["dependencies: [./library]", build("./library", 16), "level: trusted"],
  ])("%s is refused, and the policy line given as the next step allows it", (line, message, policyLine) => {
    const error = refusalOf(line);
    expect(error.message).toBe(message);
    const [first, ...policyText] = (error.details.next ?? "").split("\n");
    expect(first).toContain("To allow it, put into the policy file (--policy FILE;");
    expect(policyText).toEqual(["packs:", "  my_pack:", `    ${policyLine}`]);
    expect(resolve(line, policyText.join("\n"))).toBeDefined();
  });

  test("more CPU than the machine has is refused, and no policy can allow it", () => {
    const error = refusalOf("max_cpu_percent: 401", "packs: {my_pack: {max_cpu_percent: 800}}");
    expect(error.message).toBe("m.yaml:3:18: max_cpu_percent: asked for 401, this machine has 4 cores, which is 400");
    expect(error.details.next).toBe("Ask for no more than this machine has in m.yaml.");
  });

  test("8GB may be asked for on a small machine, runsc and an optional GPU on any", () => {
    const context = { policy: defaultPolicy(), machine: { memoryBytes: 4 * GB, cpus: 1 } };
    const text = `${head}max_memory: 8GB\ngpu: optional\nruntime: runsc\n`;
    expect(parseManifest(text, "m.yaml", context)).toMatchObject({
      maxMemoryBytes: 8 * GB,
      gpu: false,
      runtime: "runsc",
    });
  });
});

test("every refusal is listed in the order of the file, with the details of the first", () => {
  const error = refusalOf(
    "mounts: [{source: /a, target: /a}, {source: /b, target: /b}]\nmax_pids: 9999",
    "packs: {my_pack: {mounts: [{source: /a}]}}",
  );
  expect(error.message).toBe(
    'm.yaml:3:9: mounts: asked for [{"source":"/b"}], the policy allows "my_pack" [{"source":"/a"}]\n' +
      'm.yaml:4:11: max_pids: asked for 9999, level "untrusted" allows 4096',
  );
  expect(error.details).toMatchObject({
    key: "mounts",
    asked: '[{"source":"/b"}]',
    allowed: '[{"source":"/a"}]',
    level: "untrusted",
    policy: "policy.yaml",
    file: "m.yaml",
    line: 3,
    column: 9,
  });
  expect(error.details.next).toBe(
    'To allow it, put into policy.yaml:\npacks:\n  my_pack:\n    mounts: [{"source":"/a"},{"source":"/b"}]\n    max_pids: 9999',
  );
});

test("a refusal of a config object's wish says so", () => {
  const attempt = () =>
    manifestFromConfig({ name: "p", network: "full" }, undefined, { policy: defaultPolicy(), machine });
  expect(attempt).toThrow('config: network: asked for full, level "untrusted" allows none');
});

describe("limits", () => {
  const levels =
    "levels: {mine: {defaults: {max_memory: 50%, timeout: none, max_pids: 100}, caps: {max_memory: 25%, max_pids: 200}}}\n";
  const mine = `${levels}packs: {my_pack: {level: mine}}\n`;

  test("a level's defaults hold where the manifest is silent", () => {
    expect(resolve("", mine)).toMatchObject({
      maxMemoryBytes: 8 * GB,
      timeoutMs: undefined,
      maxPids: 100,
      level: "mine",
    });
  });

  test("a manifest may ask for less, for the cap, and for the level's default", () => {
    expect(resolve("max_pids: 200", mine).maxPids).toBe(200);
    expect(resolve("max_memory: 1GB", mine).maxMemoryBytes).toBe(GB);
    expect(resolve("max_memory: 8GB", mine).maxMemoryBytes).toBe(8 * GB);
    expect(resolve("timeout: none", mine).timeoutMs).toBeUndefined();
    expect(refusalOf("max_pids: 201", mine).message).toContain('asked for 201, level "mine" allows 200');
  });

  test("the table's default is lowered to the cap", () => {
    expect(resolve("", "levels: {untrusted: {caps: {max_memory: 1GB, data: none}}}")).toMatchObject({
      maxMemoryBytes: GB,
      dataBytes: undefined,
    });
  });

  test("a pack's own entry replaces the level's cap, upwards and downwards", () => {
    const up = `${levels}packs: {my_pack: {level: mine, max_pids: 300}}\n`;
    expect(resolve("max_pids: 300", up).maxPids).toBe(300);
    const down = `${levels}packs: {my_pack: {level: mine, max_pids: 50, timeout: 60}}\n`;
    expect(resolve("", down)).toMatchObject({ maxPids: 50, timeoutMs: 60_000 });
    expect(refusalOf("max_pids: 51", down).message).toContain('asked for 51, the policy allows "my_pack" 50');
  });

  test("another pack's entry is no concern of this one", () => {
    expect(refusalOf("network: full", "packs: {other: {network: full}}").message).toContain("allows none");
  });
});

describe("lists", () => {
  const mount = (name: string) => `{source: /srv/${name}, target: /mnt/${name}}`;
  const level = `levels: {mine: {defaults: {mounts: [${mount("a")}]}, caps: {mounts: [{source: /srv/b}]}}}\n`;
  const sources = (manifest: Manifest) => manifest.mounts.map(({ source }) => source);
  test("a level's default is given without asking; its caps and the pack's entry are added to what may be asked for", () => {
    const policy = `${level}packs: {my_pack: {level: mine, mounts: [{source: /srv/c}]}}`;
    expect(sources(resolve("", policy))).toEqual(["/srv/a"]);
    const all = `mounts: [${mount("a")}, ${mount("b")}, ${mount("c")}]`;
    expect(sources(resolve(all, policy))).toEqual(["/srv/a", "/srv/b", "/srv/c"]);
  });
  test("a grant alone gives nothing to a manifest that does not ask", () => {
    expect(resolve("", "packs: {my_pack: {network: full, gpu: true}}")).toMatchObject({ network: "none", gpu: false });
  });
  test("none in a pack's entry takes the level's network away", () => {
    const level = "levels: {mine: {defaults: {network: [a.com]}}}\n";
    expect(resolve("", `${level}packs: {my_pack: {level: mine, network: none}}`).network).toBe("none");
  });
});

describe("other grants", () => {
  test.each([
    ["mounts: [{source: /srv/a, target: /x}]", "mounts: [{source: /srv}]", true],
    ["mounts: [{source: /srvb, target: /x}]", "mounts: [{source: /srv}]", false],
    ["mounts: [{source: /srv, target: /x, write: true}]", "mounts: [{source: /srv}]", false],
    ["mounts: [{source: /srv, target: /x, write: true}]", "mounts: [{source: /srv, write: true}]", true],
    ["runtime: crun", "runtime: crun", true],
    ["runtime: runc", "runtime: crun", false],
    ["isolated: false", "isolated: false", true],
    ["isolated: false", "level: trusted", false],
    ["dependencies: [./library]", "dependencies: source", true],
    ["dependencies: [./library]", "{level: trusted, dependencies: wheels}", false],
  ])("%s under %s: %s", (line, entry, isGranted) => {
    const policy = `packs:\n  my_pack: ${entry.startsWith("{") ? entry : `{${entry}}`}\n`;
    if (isGranted) expect(resolve(line, policy)).toBeDefined();
    else expect(refusalOf(line, policy).details.next).toContain("policy.yaml");
  });

  test("an optional GPU stays optional where one is granted", () => {
    expect(resolve("gpu: optional", "packs: {my_pack: {gpu: {count: 1}}}").gpu).toBe("optional");
  });

  test("a runtime that the level chose cannot be left for a weaker one", () => {
    const policy = "levels: {untrusted: {defaults: {runtime: runsc}}}";
    expect(resolve("", policy).runtime).toBe("runsc");
    expect(refusalOf("runtime: runc", policy).details).toMatchObject({ key: "runtime", allowed: "runsc" });
  });
});

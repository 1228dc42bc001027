// What a good manifest becomes: values, defaults, positions, and that nobody can change it afterwards.

import { describe, expect, test } from "vitest";
import type { ExtensionConfig } from "../../src/manifest/manifest.ts";
import { manifestFromConfig, parseManifest } from "../../src/manifest/parse.ts";
import { defaultPolicy, parsePolicy } from "../../src/manifest/policy.ts";

const GB = 1024 ** 3;
const context = { policy: defaultPolicy(), machine: { memoryBytes: 16 * GB, cpus: 4 } };
const head = "name: my_pack\nversion: 1.0.0\n";
const parse = (text: string) => parseManifest(text, "manifest.yaml", context);

const PROMISED = `name: my_node_pack
version: 1.0.0
dependencies:
  - numpy==1.26.4  # Specific version needed
  - tensorflow==2.15.0
  - custom-library>=1.0.0
isolated: true
share_torch: true  # Enable tensor sharing
`;

test("the promised manifest parses as it stands, with every default of the table", () => {
  const { stated, dependencies, ...rest } = parse(PROMISED);
  expect(dependencies).toEqual([
    { requirement: "numpy==1.26.4", kind: "index", needsBuild: false, at: { line: 4, column: 5 } },
    { requirement: "tensorflow==2.15.0", kind: "index", needsBuild: false, at: { line: 5, column: 5 } },
    { requirement: "custom-library>=1.0.0", kind: "index", needsBuild: false, at: { line: 6, column: 5 } },
  ]);
  expect([...stated]).toEqual([
    ["name", { line: 1, column: 7 }],
    ["version", { line: 2, column: 10 }],
    ["dependencies", { line: 4, column: 3 }],
    ["isolated", { line: 7, column: 11 }],
    ["share_torch", { line: 8, column: 14 }],
  ]);
  expect(rest).toEqual({
    file: "manifest.yaml",
    level: "untrusted",
    sourceBuilds: false,
    name: "my_node_pack",
    version: "1.0.0",
    python: "3.11",
    systemPackages: [],
    isolated: true,
    shareTorch: true,
    gpu: false,
    maxMemoryBytes: 8 * GB,
    maxCpuPercent: 400,
    maxPids: 512,
    maxShmBytes: 2 * GB,
    maxTmpBytes: GB,
    dataBytes: undefined,
    maxImageBytes: 20 * GB,
    timeoutMs: 300_000,
    network: "none",
    mounts: [],
    env: {},
    runtime: undefined,
    indexes: [],
    findLinks: [],
    services: [],
    routes: [],
    web: [],
  });
});

test("max_memory is 75 % of a machine on which that is less than 8GB", () => {
  const machine = { memoryBytes: 4 * GB, cpus: 1 };
  const manifest = parseManifest(head, "manifest.yaml", { policy: defaultPolicy(), machine });
  expect(manifest.maxMemoryBytes).toBe(3 * GB);
  expect(manifest.maxCpuPercent).toBe(100);
});

describe("sizes", () => {
  test.each([
    ["17000000", 17_000_000],
    ['"17000000"', 17_000_000],
    ["17000000B", 17_000_000],
    ["32768KB", 32 * 1024 ** 2],
    ["512 MB", 512 * 1024 ** 2],
    ["512mb", 512 * 1024 ** 2],
    ["1.5GB", 1.5 * GB],
    ["8GB", 8 * GB],
    ["0.01TB", Math.floor(0.01 * 1024 * GB)],
  ])("max_memory: %s is %d bytes", (text, bytes) => {
    expect(parse(`${head}max_memory: ${text}\n`).maxMemoryBytes).toBe(bytes);
  });
});

test("numbers are text as they are written where text is meant", () => {
  const manifest = parse("name: 123\nversion: 1.10\npython: 3.10\nenv: {A: 1.0, B: true, C: text, D: 0x10}\n");
  expect(manifest).toMatchObject({ name: "123", version: "1.10", python: "3.10" });
  expect(manifest.env).toEqual({ A: "1.0", B: "true", C: "text", D: "0x10" });
});

test.each(["1", "1.0", "v1.2.3", "2.1rc1", "1.0.post1", "1!2.0", "1.4.0-beta.2", "1.0.0-alpha+build.5", "2024.1.dev3"])(
  "version %s is one",
  (version) => {
    expect(parse(`name: p\nversion: ${version}\n`).version).toBe(version);
  },
);

test("every other key", () => {
  const policy = parsePolicy("packs: {my_pack: {level: trusted, mounts: [{source: /srv}]}}", "policy.yaml");
  const text = `${head}python: "3.13"
system_packages: [ffmpeg, g++]
gpu: optional
max_cpu_percent: 250
max_pids: 64
max_shm: 1GB
max_tmp: 64MB
data: 20GB
max_image: 5GB
timeout: 0.5
network: full
mounts: [{source: /srv//models/, target: /models}]
runtime: runsc
`;
  expect(parseManifest(text, "manifest.yaml", { ...context, policy })).toMatchObject({
    python: "3.13",
    systemPackages: ["ffmpeg", "g++"],
    gpu: "optional",
    maxCpuPercent: 250,
    maxPids: 64,
    maxShmBytes: GB,
    maxTmpBytes: 64 * 1024 ** 2,
    dataBytes: 20 * GB,
    maxImageBytes: 5 * GB,
    timeoutMs: 500,
    network: "full",
    mounts: [{ source: "/srv/models", target: "/models", write: false }],
    runtime: "runsc",
    level: "trusted",
    sourceBuilds: true,
  });
});

test("mount targets and variables beside our own are fine, a preloaded library too", () => {
  const policy = parsePolicy("packs: {my_pack: {mounts: [{source: /srv}]}}", "policy.yaml");
  const targets = ["/packs", "/mnt/data", "/optional", "/home/models", "/libs", "/opt/envs"];
  const mounts = targets.map((target) => `{source: /srv, target: ${target}}`).join(", ");
  const text = `${head}mounts: [${mounts}]\nenv: {LD_PRELOAD: /opt/libjemalloc.so, HOMEPAGE: x, PYISOLATED: x}\n`;
  const manifest = parseManifest(text, "manifest.yaml", { ...context, policy });
  expect(manifest.mounts.map(({ target }) => target)).toEqual(targets);
  expect(Object.keys(manifest.env)).toHaveLength(3);
});

describe("forms of a dependency", () => {
  const policy = parsePolicy("packs: {my_pack: {level: trusted}}", "policy.yaml");
  test.each([
    ["numpy", "index", false],
    ["numpy ==1.26.*, !=1.26.3", "index", false],
    ["Pillow (>=10,<12)", "index", false],
    ["uvicorn[standard, x]>=0.30; python_version < '3.13' and (os_name == \"posix\")", "index", false],
    ["torch==2.4.0+cpu", "index", false],
    ["x~=1.4.2", "index", false],
    ["x===anything-goes", "index", false],
    ["git+https://github.com/org/repo.git@v1.0", "git", true],
    ["repo @ git+ssh://git@example.com/org/repo.git@v1.0#subdirectory=py", "git", true],
    ["https://files.example.com/x-1.0-py3-none-any.whl#sha256=abc", "url", false],
    ["x @ https://files.example.com/-/x-1.0.tar.gz ; sys_platform == 'linux'", "url", true],
    ["./wheels/x-1.0+cpu-py3-none-any.whl", "path", false],
    ["./library", "path", true],
  ])("%s", (requirement, kind, needsBuild) => {
    const text = `${head}dependencies:\n  - ${JSON.stringify(requirement)}\n`;
    const { dependencies } = parseManifest(text, "manifest.yaml", { ...context, policy });
    expect(dependencies).toEqual([{ requirement, kind, needsBuild, at: { line: 4, column: 5 } }]);
  });
});

test("a manifest is frozen all the way down", () => {
  const manifest = parse(`${PROMISED}env: {A: "1"}\n`);
  const attempts = [
    () => Object.assign(manifest, { name: "other" }),
    () => Object.assign(manifest.env, { A: "2" }),
    () => (manifest.dependencies as unknown[]).push("x"),
    () => Object.assign(manifest.dependencies[0] as object, { requirement: "x" }),
    () => Object.assign(manifest.dependencies[0]?.at as object, { line: 9 }),
    () => (manifest.stated as Map<string, unknown>).set("gpu", { line: 1, column: 1 }),
    () => (manifest.stated as Map<string, unknown>).clear(),
  ];
  for (const attempt of attempts) expect(attempt).toThrow(TypeError);
});

describe("a config object", () => {
  test("is enough without a file, with its own version", () => {
    const config = { name: "heavy_node", isolated: true, max_memory: "8GB", max_cpu_percent: 80, timeout: 300 };
    const manifest = manifestFromConfig(config, undefined, context);
    expect(manifest).toMatchObject({ name: "heavy_node", version: "0.0.0", file: "config", timeoutMs: 300_000 });
    expect(manifest).toMatchObject({ maxMemoryBytes: 8 * GB, maxCpuPercent: 80, maxPids: 512 });
    expect(manifest.stated.get("timeout")).toEqual({ line: 0, column: 0 });
  });

  test("goes before the file, key by key, and is not frozen with the manifest", () => {
    const config = { dependencies: ["scipy"], env: { A: "1" } } satisfies ExtensionConfig;
    const base = { text: `${PROMISED}max_pids: 64\n`, file: "manifest.yaml" };
    const unstated = { max_pids: undefined } as unknown as ExtensionConfig;
    const manifest = manifestFromConfig({ ...config, ...unstated }, base, context);
    expect(manifest.dependencies.map(({ requirement }) => requirement)).toEqual(["scipy"]);
    expect(manifest).toMatchObject({ name: "my_node_pack", maxPids: 64, env: { A: "1" } });
    expect(manifest.stated.get("max_pids")).toEqual({ line: 9, column: 11 });
    config.dependencies.push("x");
    config.env.A = "2";
    expect(manifest.env).toEqual({ A: "1" });
  });

  test("an undefined field is not stated, and a number 3.10 is Python 3.10", () => {
    const config = { name: "p", python: 3.1, max_pids: undefined } as unknown as ExtensionConfig;
    expect(manifestFromConfig(config, undefined, context)).toMatchObject({ python: "3.10", maxPids: 512 });
  });

  test.each([
    [{ name: "p", max_memry: 1 }, 'config: max_memry: unknown key "max_memry", the nearest known key is "max_memory"'],
    [
      { name: "p", max_pids: "many" },
      'config: max_pids: expected a whole number of processes and threads, at least 4, got "many"',
    ],
    [
      { name: "p", max_pids: 10n },
      "config: max_pids: expected a whole number of processes and threads, at least 4, got a bigint",
    ],
    [{ name: "p", dependencies: ["-r x"] }, 'config: dependencies[0]: "-r x" has the option "-r"'],
    [{}, "config: name: this key is required and missing"],
  ])("%o is refused", (config, message) => {
    const attempt = () => manifestFromConfig(config as unknown as ExtensionConfig, undefined, context);
    expect(attempt).toThrow(expect.objectContaining({ code: "MANIFEST_INVALID" }));
    expect(attempt).toThrow(message);
  });
});

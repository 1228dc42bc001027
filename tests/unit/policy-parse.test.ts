// The policy file: its whole form, and every way it can be wrong.

import { expect, test } from "vitest";
import { defaultPolicy, parsePolicy } from "../../src/manifest/policy.ts";

const GB = 1024 ** 3;

test("the whole form of the design is read", () => {
  const policy = parsePolicy(
    `levels: {comfyui: {defaults: {timeout: none, max_memory: 50%}, caps: {max_memory: 50%}}}
packs: {my_pack: {level: comfyui, network: [api.example.com], trust_memory: true}}
share: [[pack_a, pack_b]]
segments: descriptor        # or mounted
totals: {memory: 20GB}
`,
    "policy.yaml",
  );
  expect(policy.file).toBe("policy.yaml");
  expect([...policy.levels.keys()]).toEqual(["untrusted", "trusted", "comfyui"]);
  expect(policy.levels.get("comfyui")?.defaults).toEqual({
    timeout: Number.POSITIVE_INFINITY,
    max_memory: { percent: 50 },
  });
  const untrusted = policy.levels.get("untrusted")?.caps;
  expect(policy.levels.get("comfyui")?.caps).toEqual({ ...untrusted, max_memory: { percent: 50 } });
  expect([...policy.packs]).toEqual([
    ["my_pack", { level: "comfyui", trustMemory: true, caps: { network: ["api.example.com"] } }],
  ]);
  expect(policy).toMatchObject({ share: [["pack_a", "pack_b"]], segments: "descriptor", totals: { memory: 20 * GB } });
});

test("every kind of cap is read", () => {
  const { levels, packs } = parsePolicy(
    `levels:
  trusted: {caps: {max_pids: 9}}
  mine:
    caps:
      dependencies: source
      gpu: {ids: [0, GPU-1]}
      max_cpu_percent: 150
      data: none
      timeout: 60
      mounts: [{source: /srv/, write: true}]
      runtime: crun
      indexes: [https://packages.example.com/simple]
packs: {a: {isolated: false, services: [S], max_memory: 2GB}}
totals: {memory: 80%, cpu_percent: 300, shm: 4GB, packs: 7}
`,
    "policy.yaml",
  );
  expect(levels.get("mine")?.caps).toMatchObject({
    dependencies: "source",
    gpu: { ids: ["0", "GPU-1"] },
    max_cpu_percent: 150,
    data: 0,
    timeout: 60_000,
    mounts: [{ source: "/srv", write: true }],
    runtime: "crun",
    indexes: ["https://packages.example.com/simple"],
    max_pids: 4096,
  });
  expect(levels.get("trusted")?.caps).toMatchObject({ dependencies: "source", max_pids: 9 });
  expect(packs.get("a")).toEqual({
    level: "untrusted",
    trustMemory: false,
    caps: { isolated: false, services: ["S"], max_memory: 2 * GB },
  });
});

test.each([
  ["an unknown key", "level: {}\n", 'p.yaml:1:1: level: unknown key "level", the nearest known key is "levels"'],
  [
    "an unknown key of a level",
    "levels:\n  a: {cap: {}}\n",
    'p.yaml:2:7: levels.a.cap: unknown key "cap", the nearest known key is "caps"',
  ],
  [
    "an unknown cap",
    "levels: {a: {caps: {max_memry: 1GB}}}\n",
    'p.yaml:1:21: levels.a.caps.max_memry: unknown key "max_memry", the nearest known key is "max_memory"',
  ],
  ["a default for a name", "levels: {a: {defaults: {name: x}}}\n", 'levels.a.defaults.name: unknown key "name"'],
  [
    "isolated for a level",
    "levels: {a: {caps: {isolated: false}}}\n",
    'levels.a.caps.isolated: unknown key "isolated"',
  ],
  [
    "an unknown key of a pack",
    "packs:\n  a:\n    netwrk: full\n",
    'p.yaml:3:5: packs.a.netwrk: unknown key "netwrk", the nearest known key is "network"',
  ],
  [
    "an unknown level",
    "packs: {a: {level: trustd}}\n",
    'p.yaml:1:20: packs.a.level: there is no level "trustd", the nearest known level is "trusted"',
  ],
  [
    "a bad pack name",
    "packs: {.a: {}}\n",
    'p.yaml:1:9: packs..a: expected a name of letters, digits, dots, dashes and underscores, got ".a"',
  ],
  [
    "isolated: true",
    "packs: {a: {isolated: true}}\n",
    "p.yaml:1:23: packs.a.isolated: expected false, which lets the pack run inside a Python host, got true",
  ],
  [
    "wrong unit",
    "levels: {a: {caps: {max_memory: 8 gigs}}}\n",
    'levels.a.caps.max_memory: expected a size: a number of bytes, or a number with B, KB, MB, GB or TB, such as 8GB or 512MB, or a part of the machine such as 50%, got "8 gigs"',
  ],
  ["too many percent", "levels: {a: {caps: {max_memory: 150%}}}\n", 'or a part of the machine such as 50%, got "150%"'],
  [
    "percent elsewhere",
    "levels: {a: {caps: {max_shm: 50%}}}\n",
    'levels.a.caps.max_shm: expected a size: a number of bytes, or a number with B, KB, MB, GB or TB, such as 8GB or 512MB, got "50%"',
  ],
  ["a bad host", 'packs: {a: {network: ["http://x"]}}\n', "p.yaml:1:23: packs.a.network[0]: expected a host such as"],
  [
    "a target in a grant",
    "packs: {a: {mounts: [{source: /a, target: /b}]}}\n",
    'packs.a.mounts[0].target: unknown key "target"',
  ],
  [
    "a group of one",
    "share: [[a]]\n",
    "p.yaml:1:9: share[0]: expected a list of two or more packs that share memory, got a list",
  ],
  ["a pack in two groups", "share: [[a, b], [b, c]]\n", 'p.yaml:1:18: share[1][0]: pack "b" is in a group already'],
  ["segments", "segments: file\n", 'p.yaml:1:11: segments: expected descriptor or mounted, got "file"'],
  ["an unknown total", "totals: {cpus: 1}\n", 'p.yaml:1:10: totals.cpus: unknown key "cpus"'],
  ["a total that is none", "totals: {packs: 0}\n", "totals.packs: expected a whole number of packs, got 0"],
  ["an anchor", "packs: &x {}\n", "p.yaml:1:8: anchor &x is not supported"],
  ["a key twice", "share: []\nshare: []\n", 'p.yaml:2:1: key "share" stands here again, it is already in line 1'],
  ["an empty file", "", "p.yaml:1:1: the file is empty, expected a policy: a mapping of keys to values"],
])("%s is refused", (_title, text, message) => {
  const attempt = () => parsePolicy(text, "p.yaml");
  expect(attempt).toThrow(expect.objectContaining({ code: "POLICY_INVALID" }));
  expect(attempt).toThrow(message);
});

test("a policy is frozen, and one cannot change the next", () => {
  const policy = defaultPolicy();
  expect(() => (policy.packs as Map<string, unknown>).set("a", {})).toThrow(TypeError);
  expect(() => Object.assign(policy.levels.get("untrusted")?.caps as object, { network: "full" })).toThrow(TypeError);
  expect(() => Object.assign(policy.levels.get("trusted") as object, { caps: {} })).toThrow(TypeError);
  expect(parsePolicy("levels: {untrusted: {caps: {max_pids: 4}}}", "p").levels.get("untrusted")?.caps.max_pids).toBe(4);
  expect(defaultPolicy().levels.get("untrusted")?.caps.max_pids).toBe(4096);
});

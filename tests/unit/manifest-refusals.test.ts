// Every way a manifest can be wrong: code, position, what was expected and what stood there.

import { describe, expect, test } from "vitest";
import { PyisolateError } from "../../src/errors.ts";
import { parseManifest } from "../../src/manifest/parse.ts";
import { defaultPolicy } from "../../src/manifest/policy.ts";

const context = { policy: defaultPolicy(), machine: { memoryBytes: 16 * 1024 ** 3, cpus: 4 } };
const head = "name: my_pack\nversion: 1.0.0\n";

function refusalOf(text: string): PyisolateError {
  try {
    parseManifest(text, "m.yaml", context);
  } catch (error) {
    if (error instanceof PyisolateError) return error;
    throw error;
  }
  throw new Error(`expected a refusal of ${JSON.stringify(text)}`);
}

/** Title, text, first line of the message. */
type Case = readonly [string, string, string];

const yaml: readonly Case[] = [
  ["an empty file", "", "m.yaml:1:1: the file is empty, expected a manifest: a mapping of keys to values"],
  ["only comments", "# nothing\n", "m.yaml:1:1: the file is empty, expected a manifest: a mapping of keys to values"],
  ["a list", "\n- a\n", "m.yaml:2:1: expected a manifest: a mapping of keys to values, got a list"],
  ["a scalar", "pack", 'm.yaml:1:1: expected a manifest: a mapping of keys to values, got "pack"'],
  [
    "two documents",
    `${head}---\nname: b\n`,
    "m.yaml:3:1: a second YAML document begins here, expected one manifest in a file",
  ],
  ["an anchor", "name: &x my_pack\n", "m.yaml:1:7: anchor &x is not supported; write the value out where it is used"],
  [
    "an alias",
    `${head}web: *x\n`,
    "m.yaml:3:6: alias *x is not supported; write the value out, or put text that begins with * in quotes",
  ],
  [
    "an alias as a key",
    `${head}*x : 1\n`,
    "m.yaml:3:1: alias *x is not supported; write the value out, or put text that begins with * in quotes",
  ],
  ["a tag", "name: !t my_pack\n", "m.yaml:1:7: tag !t is not supported; put text that begins with ! in quotes"],
  [
    "a standard tag",
    "name: !!str my_pack\n",
    "m.yaml:1:7: tag !!str is not supported; put text that begins with ! in quotes",
  ],
  [
    "a verbatim tag",
    "name: !<tag:x> p\n",
    "m.yaml:1:7: tag !<tag:x> is not supported; put text that begins with ! in quotes",
  ],
  [
    "an unquoted wildcard host",
    `${head}network:\n  - *.example.com\n`,
    "m.yaml:4:5: alias *.example.com is not supported; write the value out, or put text that begins with * in quotes",
  ],
  [
    "a directive",
    "%YAML 1.1\n---\nname: p\n",
    "m.yaml:1:1: directive %YAML 1.1 is not supported; the file is read as YAML 1.2",
  ],
  ["a duplicate key", `${head}name: b\n`, 'm.yaml:3:1: key "name" stands here again, it is already in line 1'],
  [
    "a duplicate key in quotes",
    `${head}"name": b\n`,
    'm.yaml:3:1: key "name" stands here again, it is already in line 1',
  ],
  [
    "a duplicate inner key",
    `${head}env: {A: x, A: y}\n`,
    'm.yaml:3:13: key "A" stands here again, it is already in line 3',
  ],
  ["a number as a key", `${head}1: b\n`, "m.yaml:3:1: expected a key that is text, got 1; put it in quotes"],
  ["a list as a key", `${head}? [a]\n: b\n`, "m.yaml:3:3: expected a key that is text, got a list"],
  ["a merge key", `${head}<<: {max_pids: 3}\n`, 'm.yaml:3:1: <<: unknown key "<<", known keys are name, version,'],
  ["an open quote", `${head}web: "x\n`, 'm.yaml:4:1: not YAML: Missing closing "quote'],
  ["a tab", `${head}env:\n\tA: x\n`, "m.yaml:4:1: not YAML: Tabs are not allowed as indentation"],
  [
    "a mapping in a line",
    `${head}web: a: b\n`,
    "m.yaml:3:6: not YAML: Nested mappings are not allowed in compact mappings",
  ],
  ["deep nesting", `a: ${"[".repeat(100_000)}`, "m.yaml:1:35: nested more than 32 deep"],
  [
    "a huge file",
    `# ${"x".repeat(300_000)}\n${head}`,
    "m.yaml:1:1: the manifest has 300032 characters, expected at most 262144",
  ],
];

const mountAt = (target: string) => `${head}mounts: [{source: /srv, target: ${target}}]\n`;
const collision = (target: string) => `m.yaml:3:33: mounts[0].target: "${target.replace(/\/$/, "")}" collides with /`;

const keys: readonly Case[] = [
  [
    "a misspelt key",
    `${head}max_memroy: 8GB\n`,
    'm.yaml:3:1: max_memroy: unknown key "max_memroy", the nearest known key is "max_memory"',
  ],
  [
    "another case",
    `${head}Dependencies: []\n`,
    'm.yaml:3:1: Dependencies: unknown key "Dependencies", the nearest known key is "dependencies"',
  ],
  [
    "a key like none",
    `${head}zzzzzzzzz: 1\n`,
    'm.yaml:3:1: zzzzzzzzz: unknown key "zzzzzzzzz", known keys are name, version, python,',
  ],
  ["a key of every object", `${head}__proto__: {}\n`, 'm.yaml:3:1: __proto__: unknown key "__proto__"'],
  ["a missing key", "name: p\n", "m.yaml:1:1: version: this key is required and missing"],
  [
    "a key without value",
    `${head}dependencies:\n`,
    "m.yaml:3:1: dependencies: expected a list of dependencies, got nothing",
  ],
  ["terminal escapes", `${head}"\\e[31m": 1\n`, 'm.yaml:3:1: \\u001b[31m: unknown key "\\u001b[31m"'],
  [
    "an empty name",
    'name: ""\nversion: 1\n',
    'm.yaml:1:7: name: expected a name of 1 to 100 letters, digits, dots, dashes and underscores that begins with a letter or digit, got ""',
  ],
  ["a name with a slash", "name: a/b\nversion: 1\n", 'got "a/b"'],
  ["a name that begins with a dot", "name: .a\nversion: 1\n", 'got ".a"'],
  ["a long name", `name: ${"a".repeat(101)}\nversion: 1\n`, `got "${"a".repeat(80)}…"`],
  ["a name with a line break at its end", 'name: "a\\n"\nversion: 1\n', 'got "a\\n"'],
  [
    "an impossible version",
    "name: p\nversion: 1.x.banana\n",
    'm.yaml:2:10: version: impossible version "1.x.banana", expected one such as 1.0.0, 2.1rc1 or 1.4.0-beta.2',
  ],
  ["a date as version", "name: p\nversion: 2024-13-x\n", 'impossible version "2024-13-x"'],
  [
    "a list as version",
    "name: p\nversion: [1]\n",
    "m.yaml:2:10: version: expected a version such as 1.0.0, 2.1rc1 or 1.4.0-beta.2, got a list",
  ],
  [
    "python 3.1",
    `${head}python: 3.1\n`,
    'm.yaml:3:9: python: expected one of 3.9, 3.10, 3.11, 3.12 and 3.13, got "3.1"',
  ],
  ["an old python", `${head}python: "3.8"\n`, 'got "3.8"'],
  ["an exact python", `${head}python: 3.11.2\n`, 'got "3.11.2"'],
  ["yes", `${head}isolated: yes\n`, 'm.yaml:3:11: isolated: expected true or false, got "yes"'],
  [
    "a bad package",
    `${head}system_packages: [ffmpeg, libc6-]\n`,
    'm.yaml:3:27: system_packages[1]: expected the name of a Debian package, such as ffmpeg, got "libc6-"',
  ],
  [
    "an option as package",
    `${head}system_packages: [--reinstall]\n`,
    'system_packages[0]: expected the name of a Debian package, such as ffmpeg, got "--reinstall"',
  ],
  ["a bad variable", `${head}env: {"A=B": x}\n`, "m.yaml:3:7: env.A=B: expected the name of an environment variable"],
  [
    "a variable that we set",
    `${head}env: {PYTHONPATH: x}\n`,
    "m.yaml:3:7: env.PYTHONPATH: expected the name of an environment variable, and not HOME,",
  ],
  ...["HOME", "USER", "LOGNAME", "PYTHONHOME", "PYISOLATE_DATA", "PYISOLATE_"].map(
    (name): Case => [`variable ${name}`, `${head}env: {${name}: x}\n`, `m.yaml:3:7: env.${name}: expected the name`],
  ),
  [
    "a list as a variable",
    `${head}env: {A: [x]}\n`,
    "m.yaml:3:10: env.A: expected text of at most 10000 characters, got a list",
  ],
  ["an unknown runtime", `${head}runtime: kata\n`, 'm.yaml:3:10: runtime: expected runc, crun or runsc, got "kata"'],
  [
    "zero GPUs",
    `${head}gpu: {count: 0}\n`,
    "m.yaml:3:14: gpu.count: expected a whole number of GPUs, at least 1, got 0",
  ],
  [
    "a word for a GPU",
    `${head}gpu: always\n`,
    'm.yaml:3:6: gpu: expected true, false, optional, {count: 1} or {ids: [0]}, got "always"',
  ],
  [
    "two ways to say GPUs",
    `${head}gpu: {count: 1, ids: [0]}\n`,
    "m.yaml:3:6: gpu: expected true, false, optional, {count: 1} or {ids: [0]}, got a mapping",
  ],
  [
    "an index that is an option",
    `${head}indexes: [--index-url]\n`,
    "m.yaml:3:11: indexes[0]: expected the https:// address of an index",
  ],
  [
    "an index with a variable",
    `${head}indexes: ["https://x/$TOKEN"]\n`,
    "indexes[0]: expected the https:// address of an index",
  ],
  [
    "links outside the pack",
    `${head}find_links: [/srv/wheels]\n`,
    "find_links[0]: expected an https:// address, or a folder of the pack such as ./wheels",
  ],
  ["a service that is no name", `${head}services: ["a b"]\n`, "services[0]: expected the name of a service"],
  [
    "a mount without target",
    `${head}mounts:\n  - source: /srv\n`,
    "m.yaml:4:5: mounts[0].target: this key is required and missing",
  ],
  [
    "a relative mount",
    `${head}mounts: [{source: srv, target: /x}]\n`,
    'm.yaml:3:19: mounts[0].source: expected an absolute path on the machine, got "srv"',
  ],
  [
    "a mount that climbs",
    `${head}mounts: [{source: /srv/../etc, target: /x}]\n`,
    'mounts[0].source: expected a path without "." and "..", got "/srv/../etc"',
  ],
  ...["/opt", "/opt/env/lib", "/opt/pyisolate", "/pack/sub", "/run/pyisolate/", "/run", "/tmp", "/tmp/x", "/data"].map(
    (target): Case => [`a mount over ${target}`, mountAt(target), collision(target)],
  ),
  ...["/proc/sys", "/sys", "/dev/shm", "/usr/lib", "/bin", "/sbin", "/lib", "/lib64/x", "/etc"].map(
    (target): Case => [`a mount over ${target}`, mountAt(target), collision(target)],
  ),
  [
    "a mount with options",
    `${head}mounts: [{source: "/srv:z", target: /x}]\n`,
    "mounts[0].source: expected an absolute path on the machine",
  ],
];

const SIZE = "a size: a number of bytes, or a number with B, KB, MB, GB or TB, such as 8GB or 512MB";
const limits: readonly Case[] = [
  ["wrong unit", `${head}max_memory: 8 gigs\n`, `m.yaml:3:13: max_memory: expected ${SIZE}, got "8 gigs"`],
  ["binary unit", `${head}max_memory: 8GiB\n`, `expected ${SIZE}, got "8GiB"`],
  ["short unit", `${head}max_shm: 8G\n`, `max_shm: expected ${SIZE}, got "8G"`],
  ["fraction of a byte", `${head}max_tmp: 100000000.5\n`, `max_tmp: expected ${SIZE}, got 100000000.5`],
  ["negative", `${head}max_memory: -1\n`, `expected ${SIZE}, got -1`],
  ["infinite", `${head}max_memory: .inf\n`, `expected ${SIZE}, got Infinity`],
  ["a part of the machine", `${head}max_memory: 50%\n`, `max_memory: expected ${SIZE}, got "50%"`],
  ["too small", `${head}max_memory: 1MB\n`, 'm.yaml:3:13: max_memory: expected at least 16MB, got "1MB"'],
  ["no tmpfs", `${head}max_tmp: 0\n`, "max_tmp: expected at least 1MB, got 0"],
  ["too large", `${head}data: 9000TB\n`, 'data: expected at most 1024TB, got "9000TB"'],
  ["no data size", `${head}data: much\n`, `data: expected ${SIZE}, or none, got "much"`],
  [
    "no CPU",
    `${head}max_cpu_percent: 0\n`,
    "m.yaml:3:18: max_cpu_percent: expected a whole number of percent of one core, such as 250 for two and a half cores, got 0",
  ],
  ["CPU with a sign", `${head}max_cpu_percent: 80%\n`, 'for two and a half cores, got "80%"'],
  [
    "half a process",
    `${head}max_pids: 1.5\n`,
    "max_pids: expected a whole number of processes and threads, at least 4, got 1.5",
  ],
  [
    "fewer threads than pyisolate's own",
    `${head}max_pids: 3\n`,
    "m.yaml:3:11: max_pids: expected a whole number of processes and threads, at least 4, got 3",
  ],
  [
    "no time",
    `${head}timeout: 0\n`,
    "m.yaml:3:10: timeout: expected a number of seconds above 0 and at most 2147483, or none, got 0",
  ],
  [
    "time with a unit",
    `${head}timeout: 5min\n`,
    'timeout: expected a number of seconds above 0 and at most 2147483, or none, got "5min"',
  ],
];

const HOST = "a host such as api.example.com, api.example.com:8443 or *.example.com";
const hosts: readonly Case[] = [
  ["a word", `${head}network: some\n`, 'm.yaml:3:10: network: expected none, full, or a list of hosts, got "some"'],
  ["true", `${head}network: true\n`, "network: expected none, full, or a list of hosts, got true"],
  ["a URL", `${head}network: ["https://x"]\n`, `network[0]: expected ${HOST}, without the scheme, got "https://x"`],
  [
    "every host",
    `${head}network: ["*"]\n`,
    'm.yaml:3:11: network[0]: "*" is not a host; `network: full` asks for every host, got "*"',
  ],
  ["a star inside", `${head}network: [a.*.com]\n`, `network[0]: expected ${HOST}, got "a.*.com"`],
  [
    "a port that is none",
    `${head}network: ["x.com:65536"]\n`,
    "network[0]: port 65536 does not exist, expected 1 to 65535",
  ],
  ["port 0", `${head}network: ["x.com:0"]\n`, "network[0]: port 0 does not exist"],
  ["a path", `${head}network: [x.com/y]\n`, `network[0]: expected ${HOST}, got "x.com/y"`],
  ["a number", `${head}network: [1]\n`, `network[0]: expected ${HOST}, got 1`],
];

const dependency = (text: string) => `${head}dependencies:\n  - numpy\n  - ${JSON.stringify(text)}\n`;
const EXAMPLES = 'such as "numpy==1.26.4", "git+https://example.com/repo.git@v1.0" or "./wheels/x.whl"';
const OPTION = "and options are not allowed here";
const dependencies: readonly Case[] = [
  [
    "a line break",
    dependency("numpy\n--index-url x"),
    '"numpy\\n--index-url x" has a line break or another control character; expected one dependency on one line',
  ],
  ["a return", dependency("numpy\rx"), '"numpy\\rx" has a line break'],
  ["a unicode line break", dependency("numpy\u2028x"), '"numpy\\u2028x" has a line break'],
  [
    "a requirements file",
    dependency("-r x.txt"),
    `"-r x.txt" has the option "-r", ${OPTION}; expected a dependency ${EXAMPLES}`,
  ],
  [
    "an index",
    dependency("--index-url https://x"),
    `"--index-url https://x" has the option "--index-url", ${OPTION}; other indexes are asked for with the key indexes`,
  ],
  [
    "links",
    dependency("--find-links=./x"),
    `has the option "--find-links", ${OPTION}; other places are asked for with the key find_links`,
  ],
  ["an editable", dependency("-e ."), '"-e ." has the option "-e"'],
  ["an option after the name", dependency("numpy==1.0 --hash=sha256:x"), 'has the option "--hash"'],
  ["any dash", dependency(" -numpy"), '" -numpy" has the option "-numpy"'],
  ["nothing", dependency(" "), `the entry is empty, expected a dependency ${EXAMPLES}`],
  [
    "no version",
    dependency("numpy==abc!"),
    'impossible version "abc!" after == in "numpy==abc!", expected one such as 1.26.4',
  ],
  ["an empty version", dependency("numpy=="), 'impossible version "" after =='],
  ["a star in a range", dependency("numpy>=1.*"), 'impossible version "1.*" after >='],
  ["a local version in a range", dependency("torch>=2.0+cpu"), 'impossible version "2.0+cpu" after >='],
  ["~= of one number", dependency("x~=1"), 'impossible version "1" after ~='],
  [
    "one equals sign",
    dependency("numpy=1.26"),
    '"numpy=1.26" is not a dependency: "=1.26" is no version condition, expected ==, !=, <=, >=, <, >, ~= or === and a version',
  ],
  ["two names", dependency("numpy pandas"), '"numpy pandas" is not a dependency: "pandas" is no version condition'],
  ["a comma too many", dependency("numpy>=1,"), '"" is no version condition'],
  ["bad extras", dependency("x[a b]"), '"[a b]" is no version condition'],
  ["no name", dependency("==1.0"), `"==1.0" is not a dependency; expected one ${EXAMPLES}`],
  ["an empty condition", dependency("x;"), '"x;" has nothing after ";"'],
  [
    "a condition that is none",
    dependency("x; import os"),
    '"x; import os" has a condition that cannot be read at "import os"',
  ],
  ["a variable", dependency("x==$V"), 'impossible version "$V"'],
  ["a variable in a URL", dependency("https://x/$V.whl"), "is not a URL that can be installed from"],
  [
    "an option as a git tag",
    dependency("git+https://example.com/x@--upload-pack=y"),
    "is not a URL that can be installed from; expected https://…/x.whl or git+https://…@tag",
  ],
  ["an option as a host", dependency("git+ssh://-oProxyCommand=x/y"), "is not a URL that can be installed from"],
  ["another version control", dependency("hg+https://example.com/x"), "is not a URL that can be installed from"],
  ["a file URL", dependency("file:///etc/passwd"), "is not a path inside the pack's folder"],
  ["a named file URL", dependency("x @ file:///etc"), 'has no URL after "@"; expected https://… or git+https://…'],
  [
    "a path that climbs",
    dependency("../x.whl"),
    '"../x.whl" climbs out of a folder with ".."; expected a path inside the pack\'s folder, such as "./wheels/x.whl"',
  ],
  ["a path that climbs later", dependency("./a/../../x.whl"), '"./a/../../x.whl" climbs out of a folder with ".."'],
  [
    "an absolute path",
    dependency("/srv/x.whl"),
    'is not a path inside the pack\'s folder; expected "./" and then names without spaces',
  ],
  ["a home path", dependency("~/x.whl"), "is not a path inside the pack's folder"],
  ["a path without ./", dependency("wheels/x.whl"), 'is not a path inside the pack\'s folder; expected "./"'],
  ["backslashes", dependency("..\\x.whl"), 'climbs out of a folder with ".."'],
];

describe.each(Object.entries({ yaml, keys, limits, hosts }))("%s", (_group, cases) => {
  test.each(cases)("%s", (_title, text, message) => {
    const error = refusalOf(text);
    expect(error.code).toBe("MANIFEST_INVALID");
    expect(error.message).toContain(message);
    expect(error.details.next).toBe("Correct m.yaml; every key is described in docs/manifest.md.");
  });
});

describe("dependencies", () => {
  test.each(dependencies)("%s", (_title, text, message) => {
    const error = refusalOf(text);
    expect(error.code).toBe("MANIFEST_INVALID");
    expect(error.message.startsWith("m.yaml:5:5: dependencies[1]: ")).toBe(true);
    expect(error.message).toContain(message);
  });
  test.each([
    [
      "a mapping",
      "dependencies: {numpy: 1.26}",
      "m.yaml:3:15: dependencies: expected a list of dependencies, got a mapping",
    ],
    ["a number", "dependencies: [1]", "m.yaml:3:16: dependencies[0]: expected a dependency as text, got 1"],
    ["a text", "dependencies: numpy", 'm.yaml:3:15: dependencies: expected a list of dependencies, got "numpy"'],
  ])("%s instead of a list of text", (_title, line, message) => {
    expect(refusalOf(`${head}${line}\n`).message).toBe(message);
  });
});

test("all problems are listed in the order of the file, and the error carries the first one's place", () => {
  const error = refusalOf("name: p\nmax_pids: x\npythn: 3.11\ndependencies:\n  - -r a\nversion: 1.banana\n");
  expect(error.message.split("\n").map((line) => line.split(": ").slice(0, 2).join(": "))).toEqual([
    "m.yaml:2:11: max_pids",
    "m.yaml:3:1: pythn",
    "m.yaml:5:5: dependencies[0]",
    "m.yaml:6:10: version",
  ]);
  expect(error.details).toMatchObject({ file: "m.yaml", line: 2, column: 11 });
});

test("of very many problems the first twenty are shown", () => {
  const lines = refusalOf(
    `${head}${Array.from({ length: 30 }, (_, index) => `x${index}: 1`).join("\n")}\n`,
  ).message.split("\n");
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toBe("… and 10 more");
});

// Keys: one row per key of manifest.yaml. The schemas, the defaults, the policy's form and docs/manifest.md are made from it.
// A row's schema checks the shape (its errorMessage is what a message says was expected); `read` checks what a schema cannot.

import { HOST_EXPECTED } from "./hosts.ts";
import type {
  Dependency,
  GpuRequest,
  MachineSize,
  ManifestKey,
  Mount,
  NetworkRequest,
  PythonVersion,
} from "./manifest.ts";
import {
  type Reading,
  readDependencies,
  readHosts,
  readMounts,
  readSize,
  readTimeoutMs,
  readVersion,
} from "./readers.ts";
import { RESERVED_ENV_PATTERN, RESERVED_ENV_TEXT } from "./reserved.ts";
import { GB, type MemoryShare, PERCENT_PATTERN, SIZE_EXPECTED, SIZE_PATTERN } from "./sizes.ts";

export type JsonSchema = { readonly [keyword: string]: unknown };

/** Each key's value once read. Limits are numbers to be compared: 0 is "none" for data, Infinity is "none" for timeout. */
export interface KeyValues {
  readonly name: string;
  readonly version: string;
  readonly python: PythonVersion;
  readonly dependencies: readonly Dependency[];
  readonly system_packages: readonly string[];
  readonly isolated: boolean;
  readonly share_torch: boolean;
  readonly gpu: GpuRequest;
  /** Bytes; only a policy has shares. */
  readonly max_memory: number | MemoryShare;
  readonly max_cpu_percent: number;
  readonly max_pids: number;
  readonly max_shm: number;
  readonly max_tmp: number;
  readonly data: number;
  readonly max_image: number;
  /** Milliseconds. */
  readonly timeout: number;
  readonly network: NetworkRequest;
  readonly mounts: readonly Mount[];
  readonly env: Readonly<Record<string, string>>;
  /** "": the engine's own. */
  readonly runtime: string;
  readonly indexes: readonly string[];
  readonly find_links: readonly string[];
  readonly services: readonly string[];
  readonly routes: readonly string[];
  readonly web: readonly string[];
}

/** Sections of docs/manifest.md. */
type KeyGroup =
  | "The pack"
  | "Dependencies"
  | "Isolation and tensors"
  | "Limits"
  | "Reaching outside"
  | "The host program";

/** What of a key this version cannot do. */
export interface NotYet<Value> {
  /** Ends the sentence "this version cannot …". */
  readonly cannot: string;
  /** Whether a value asks for it: then the manifest is refused. Absent: it is read and starts without. */
  isAsked?(value: Value): boolean;
  /** What can be written instead of removing the key. */
  readonly instead?: string;
}

export interface KeyRow<Value> {
  readonly group: KeyGroup;
  readonly schema: JsonSchema;
  /** The value when neither the manifest nor the policy's level states one; undefined: the manifest must. */
  readonly fallback: ((machine: MachineSize) => Value) | undefined;
  /** `fallback` in words. */
  readonly defaultText: string;
  readonly description: string;
  readonly unit?: string;
  /** One or more lines of YAML. */
  readonly example: string;
  /** A plain YAML scalar here is the text as written: 1.10 is "1.10". */
  readonly isText?: true;
  /** What a policy may state: the most a manifest may ask for (its form), whether a level may have a default for the key. */
  readonly cap?: JsonSchema;
  readonly hasLevelDefault?: true;
  readonly notYet?: NotYet<Value>;
  /** The value of `raw`, which the schema has accepted. Notes what the schema cannot check in `reading`. */
  read(raw: unknown, reading: Reading): Value;
}

const asIs = <Value>(raw: unknown): Value => raw as Value;
const list = (raw: unknown): readonly string[] => [...(raw as string[])];
const isNotEmpty = (value: readonly string[] | string) => typeof value === "object" && value.length > 0;

function size(expected = SIZE_EXPECTED, pattern = SIZE_PATTERN): JsonSchema {
  return { type: ["string", "integer"], pattern, minimum: 0, errorMessage: expected };
}

function listOf(items: JsonSchema, expected: string): JsonSchema {
  return { type: "array", items, errorMessage: expected };
}

function text(pattern: string, expected: string): JsonSchema {
  return { type: "string", pattern, errorMessage: expected };
}

function count(maximum: number, expected: string, minimum = 1): JsonSchema {
  return { type: "integer", minimum, maximum, errorMessage: expected };
}

const trueOrFalse: JsonSchema = { type: "boolean", errorMessage: "true or false" };
const memoryOfMachine = size(
  `${SIZE_EXPECTED}, or a part of the machine such as 50%`,
  `${SIZE_PATTERN}|${PERCENT_PATTERN}`,
);
const sizeOrNone = size(`${SIZE_EXPECTED}, or none`, `${SIZE_PATTERN}|^none$`);
const indexUrls = listOf(
  text("^https?://[A-Za-z0-9][!#%&'()*+,./0-9:;=?@A-Z_a-z~-]*$", "the https:// address of an index"),
  "a list of index addresses",
);
const linkPlaces = listOf(
  text(
    "^(https?://[A-Za-z0-9][!#%&'()*+,./0-9:;=?@A-Z_a-z~-]*|\\./[A-Za-z0-9_][A-Za-z0-9_./-]*)$",
    "an https:// address, or a folder of the pack such as ./wheels",
  ),
  "a list of addresses or folders",
);
const cpus = count(102_400, "a whole number of percent of one core, such as 250 for two and a half cores");
/** The container's init, Python, a thread that reads calls and one that runs them: with less no pack comes up. */
const fewestPids = 4;
const pids = count(4_194_304, `a whole number of processes and threads, at least ${fewestPids}`, fewestPids);
const timeout: JsonSchema = {
  type: ["number", "string"],
  pattern: "^none$",
  exclusiveMinimum: 0,
  maximum: 2_147_483,
  errorMessage: "a number of seconds above 0 and at most 2147483, or none",
};
const network: JsonSchema = {
  type: ["string", "array"],
  if: { type: "string" },
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
  then: { enum: ["none", "full"], errorMessage: "none, full, or a list of hosts" },
  items: { type: "string", errorMessage: HOST_EXPECTED },
  errorMessage: "none, full, or a list of hosts",
};
const gpu: JsonSchema = {
  type: ["boolean", "string", "object"],
  if: { type: "string" },
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
  then: { const: "optional", errorMessage: "true, false, optional, {count: 1} or {ids: [0]}" },
  properties: {
    count: count(64, "a whole number of GPUs, at least 1"),
    ids: listOf(
      {
        type: ["string", "integer"],
        minimum: 0,
        maximum: 63,
        pattern: "^[A-Za-z0-9-]{1,64}$",
        errorMessage: "the number or the UUID of a GPU",
      },
      "a list of GPUs",
    ),
  },
  additionalProperties: false,
  minProperties: 1,
  maxProperties: 1,
  errorMessage: "true, false, optional, {count: 1} or {ids: [0]}",
};
const containerPath = text("^/[A-Za-z0-9._][A-Za-z0-9._/@+-]*$", "an absolute path in the container");
const hostPath = text("^/[^\\u0000-\\u001f\\u007f:]*$", "an absolute path on the machine");
const mounts = listOf(
  {
    type: "object",
    properties: { source: hostPath, target: containerPath, write: trueOrFalse },
    required: ["source", "target"],
    additionalProperties: false,
    errorMessage: "a mapping with source, target and, to write there, write: true",
  },
  "a list of mounts",
);
const mountGrants = listOf(
  {
    type: "object",
    properties: { source: hostPath, write: trueOrFalse },
    required: ["source"],
    additionalProperties: false,
    errorMessage: "a mapping with source and, to allow writing there, write: true",
  },
  "a list of folders that may be mounted",
);
const runtime: JsonSchema = { enum: ["runc", "crun", "runsc"], errorMessage: "runc, crun or runsc" };
const names = (expected: string) =>
  listOf(text("^[A-Za-z_][A-Za-z0-9_.-]{0,99}$", expected), `a list, each entry ${expected}`);
const places = (expected: string) =>
  listOf(text("^[!#%&'()*+,./0-9:;=?@A-Z_a-z{}~-]{1,200}$", expected), `a list, each entry ${expected}`);
const serviceNames = names("the name of a service");
const routePaths = places("the path of a route, such as /my_pack/status");
const webFolders = places("a folder of the pack, such as ./web");

const PYTHON_VERSIONS = ["3.9", "3.10", "3.11", "3.12", "3.13"] as const satisfies readonly PythonVersion[];

/** The name of a pack, also as a policy spells it; and of a level. */
export const NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$";

export const KEYS: { readonly [Key in ManifestKey]: KeyRow<KeyValues[Key]> } = {
  name: {
    group: "The pack",
    schema: {
      type: ["string", "number"],
      pattern: NAME_PATTERN,
      errorMessage:
        "a name of 1 to 100 letters, digits, dots, dashes and underscores that begins with a letter or digit",
    },
    fallback: undefined,
    defaultText: "required",
    description: "What the pack is called: in messages, in the policy, on its images and containers.",
    example: "name: my_node_pack",
    isText: true,
    read: String,
  },
  version: {
    group: "The pack",
    schema: {
      type: ["string", "number"],
      pattern: "^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,99}$",
      errorMessage: "a version such as 1.0.0, 2.1rc1 or 1.4.0-beta.2",
    },
    fallback: undefined,
    defaultText: "required",
    description: "The pack's version, as Python or npm packages spell theirs. Taken as written: `1.10` stays 1.10.",
    example: "version: 1.0.0",
    isText: true,
    read: readVersion,
  },
  python: {
    group: "The pack",
    schema: {
      enum: [...PYTHON_VERSIONS, ...PYTHON_VERSIONS.map(Number)],
      errorMessage: "one of 3.9, 3.10, 3.11, 3.12 and 3.13",
    },
    fallback: () => "3.11",
    defaultText: "3.11",
    description: "The Python the pack runs in. Quotes are not needed: `3.10` stays 3.10.",
    example: "python: 3.12",
    isText: true,
    hasLevelDefault: true,
    // A program's number 3.10 is 3.1, and there is no Python 3.1 to mean.
    read: (raw) => (raw === 3.1 ? "3.10" : (String(raw) as PythonVersion)),
  },
  dependencies: {
    group: "Dependencies",
    schema: listOf({ type: "string", errorMessage: "a dependency as text" }, "a list of dependencies"),
    fallback: () => [],
    defaultText: "[]",
    description:
      "What the pack imports: by name with versions, extras and markers (PEP 508), `git+https://…@tag`, the address of a file, or `./wheels/x.whl` in the pack's folder.",
    example:
      "dependencies:\n  - numpy==1.26.4\n  - opencv-python-headless<5\n  - ./wheels/custom_library-1.0-py3-none-any.whl",
    cap: { enum: ["wheels", "source"], errorMessage: "wheels, or source to let dependencies be built from source" },
    read: readDependencies,
  },
  system_packages: {
    group: "Dependencies",
    schema: listOf(
      text("^[a-z0-9][a-z0-9+.-]{0,98}[a-z0-9+]$", "the name of a Debian package, such as ffmpeg"),
      "a list of Debian packages",
    ),
    fallback: () => [],
    defaultText: "[]",
    description: "Debian packages that are installed below the Python environment.",
    example: "system_packages: [ffmpeg, libgl1]",
    read: list,
  },
  isolated: {
    group: "Isolation and tensors",
    schema: trueOrFalse,
    fallback: () => true,
    defaultText: "true",
    description:
      "`false` runs the pack inside a Python host program instead of a container. A TypeScript program cannot do that.",
    example: "isolated: true",
    read: asIs,
  },
  share_torch: {
    group: "Isolation and tensors",
    schema: trueOrFalse,
    fallback: () => false,
    defaultText: "false",
    description:
      "`true`: tensors arrive as torch tensors, and torch is in the image even if undeclared. `false`: as numpy arrays where the image has numpy, else as `pyisolate.Tensor`. It never chooses how tensors travel.",
    example: "share_torch: true",
    hasLevelDefault: true,
    read: asIs,
  },
  gpu: {
    group: "Isolation and tensors",
    schema: gpu,
    fallback: () => false,
    defaultText: "false",
    description:
      "`true`, a number of GPUs, certain GPUs, or `optional`: a GPU if the policy grants one, and none otherwise.",
    example: "gpu: {count: 1}",
    cap: gpu,
    hasLevelDefault: true,
    notYet: {
      cannot: "give a pack a GPU",
      isAsked: (value) => value !== false && value !== "optional",
      instead: "gpu: optional, which runs on the CPU",
    },
    read: (raw) =>
      typeof raw === "object" && raw !== null && "ids" in raw
        ? { ids: (raw.ids as (string | number)[]).map(String) }
        : typeof raw === "object"
          ? { count: (raw as { count: number }).count }
          : (raw as GpuRequest),
  },
  max_memory: {
    group: "Limits",
    schema: size(),
    fallback: ({ memoryBytes }) => Math.min(8 * GB, Math.floor(memoryBytes * 0.75)),
    defaultText: "8GB, or 75 % of the machine if that is less",
    description: "Memory of the whole pack; there is no swap. At least 16MB.",
    unit: "size",
    example: "max_memory: 4GB",
    cap: memoryOfMachine,
    hasLevelDefault: true,
    read: (raw, reading) => readSize(raw, reading, "16MB"),
  },
  max_cpu_percent: {
    group: "Limits",
    schema: cpus,
    fallback: ({ cpus }) => Math.floor(cpus * 100),
    defaultText: "100 × cores of the machine",
    description: "Processor time, in percent of one core: `250` is two and a half cores. At most what the machine has.",
    unit: "% of one core",
    example: "max_cpu_percent: 250",
    cap: cpus,
    hasLevelDefault: true,
    read: asIs,
  },
  max_pids: {
    group: "Limits",
    schema: pids,
    fallback: () => 512,
    defaultText: "512",
    description:
      "Processes and threads that exist at one time. At least 4: pyisolate's own and one for a node; libraries start more, up to one for each core.",
    unit: "count",
    example: "max_pids: 1024",
    cap: pids,
    hasLevelDefault: true,
    read: asIs,
  },
  max_shm: {
    group: "Limits",
    schema: size(),
    fallback: () => 2 * GB,
    defaultText: "2GB",
    description:
      "Shared memory that the pack writes its results into: those that somebody still uses, and what is kept warm for the next.",
    unit: "size",
    example: "max_shm: 4GB",
    cap: size(),
    hasLevelDefault: true,
    read: (raw, reading) => readSize(raw, reading, "1MB") as number,
  },
  max_tmp: {
    group: "Limits",
    schema: size(),
    fallback: () => GB,
    defaultText: "1GB",
    description: "Size of `/tmp` and of the container's own `/dev/shm`; both are memory and count into `max_memory`.",
    unit: "size",
    example: "max_tmp: 512MB",
    cap: size(),
    hasLevelDefault: true,
    read: (raw, reading) => readSize(raw, reading, "1MB") as number,
  },
  data: {
    group: "Limits",
    schema: sizeOrNone,
    fallback: () => 0,
    defaultText: "none",
    description:
      "A folder that survives restarts and rebuilds, mounted as `$HOME`: the engine's volume `pyisolate-data-NAME`. Packs of one name share it. A pack that gets a writable mount, or loses its last one, runs as another user and cannot change the files it wrote here before.",
    unit: "size",
    example: "data: 20GB",
    cap: sizeOrNone,
    hasLevelDefault: true,
    notYet: { cannot: "watch the folder's size, so a pack may fill it further" },
    read: (raw, reading) => (raw === "none" ? 0 : (readSize(raw, reading, "1MB") as number)),
  },
  max_image: {
    group: "Limits",
    schema: size(),
    fallback: () => 20 * GB,
    defaultText: "20GB",
    description: "Unpacked size of the pack's image, with everything below it.",
    unit: "size",
    example: "max_image: 5GB",
    cap: size(),
    hasLevelDefault: true,
    read: (raw, reading) => readSize(raw, reading, "1MB") as number,
  },
  timeout: {
    group: "Limits",
    schema: timeout,
    fallback: () => 300_000,
    defaultText: "300",
    description: "Time for one execution of a node; `none` needs a policy that allows it.",
    unit: "seconds",
    example: "timeout: 60",
    cap: timeout,
    hasLevelDefault: true,
    read: readTimeoutMs,
  },
  network: {
    group: "Reaching outside",
    schema: network,
    fallback: () => "none",
    defaultText: "none",
    description:
      "`none`, `full`, or a list of `host[:port]`; `*.` in front stands for every host below, and without a port 80 and 443 are meant. Needs a policy.",
    example: 'network: [api.example.com, "*.example.org", "files.example.net:8443"]',
    cap: network,
    hasLevelDefault: true,
    notYet: {
      cannot: "hold a pack to a list of hosts",
      isAsked: isNotEmpty,
      instead: "network: full where the policy allows it",
    },
    read: readHosts,
  },
  mounts: {
    group: "Reaching outside",
    schema: mounts,
    fallback: () => [],
    defaultText: "[]",
    description:
      "Folders of the machine that the pack sees, read-only unless `write: true`, with which the pack runs as the user of the host program. Needs a policy. A source is written by its real path: one with a symbolic link in it is refused at the start.",
    example: "mounts:\n  - {source: /srv/models, target: /models}",
    cap: mountGrants,
    hasLevelDefault: true,
    read: readMounts,
  },
  env: {
    group: "Reaching outside",
    schema: {
      type: "object",
      propertyNames: {
        pattern: "^[A-Za-z_][A-Za-z0-9_]{0,99}$",
        not: { pattern: RESERVED_ENV_PATTERN },
        errorMessage: `the name of an environment variable, and not ${RESERVED_ENV_TEXT}, which are pyisolate's own`,
      },
      additionalProperties: {
        type: ["string", "number", "boolean"],
        pattern: "^[^\\u0000]*$",
        maxLength: 10_000,
        errorMessage: "text of at most 10000 characters",
      },
      errorMessage: "a mapping of names to values",
    },
    fallback: () => ({}),
    defaultText: "{}",
    description: "Environment variables of the pack. Numbers are taken as written.",
    example: "env:\n  HF_HUB_OFFLINE: 1",
    isText: true,
    read: (raw) => Object.fromEntries(Object.entries(raw as object).map(([key, value]) => [key, String(value)])),
  },
  runtime: {
    group: "Isolation and tensors",
    schema: runtime,
    fallback: () => "",
    defaultText: "the engine's",
    description:
      "The container runtime. `runsc` (gVisor) may be asked for by any pack, `runc` and `crun` need a policy.",
    example: "runtime: runsc",
    cap: runtime,
    hasLevelDefault: true,
    read: asIs,
  },
  indexes: {
    group: "Dependencies",
    schema: indexUrls,
    fallback: () => [],
    defaultText: "[]",
    description: "Package indexes beside the machine's usual one. Needs a policy.",
    example: "indexes: [https://packages.example.com/simple]",
    cap: indexUrls,
    hasLevelDefault: true,
    notYet: { cannot: "ask other package indexes than the machine's", isAsked: isNotEmpty },
    read: list,
  },
  find_links: {
    group: "Dependencies",
    schema: linkPlaces,
    fallback: () => [],
    defaultText: "[]",
    description: "Pages or folders of the pack in which wheels are looked for. Needs a policy.",
    example: "find_links: [./wheels]",
    cap: linkPlaces,
    hasLevelDefault: true,
    notYet: { cannot: "look for wheels in other places than the machine's", isAsked: isNotEmpty },
    read: list,
  },
  services: {
    group: "The host program",
    schema: serviceNames,
    fallback: () => [],
    defaultText: "[]",
    description: "Services of the host program or of other packs that the pack calls. Needs a policy.",
    example: "services: [ModelManager]",
    cap: serviceNames,
    hasLevelDefault: true,
    notYet: { cannot: "let a pack call services", isAsked: isNotEmpty },
    read: list,
  },
  routes: {
    group: "The host program",
    schema: routePaths,
    fallback: () => [],
    defaultText: "[]",
    description: "Paths of the host's web server that the pack answers. Needs a policy.",
    example: "routes: [/my_node_pack/status]",
    cap: routePaths,
    hasLevelDefault: true,
    notYet: { cannot: "serve a pack's routes", isAsked: isNotEmpty },
    read: list,
  },
  web: {
    group: "The host program",
    schema: webFolders,
    fallback: () => [],
    defaultText: "[]",
    description: "Folders of the pack whose files the host's web page loads. Needs a policy.",
    example: "web: [./web]",
    cap: webFolders,
    hasLevelDefault: true,
    notYet: { cannot: "serve a pack's web files", isAsked: isNotEmpty },
    read: list,
  },
};

export const MANIFEST_KEYS = Object.keys(KEYS) as ManifestKey[];

/** Whether the plain scalars at a pointer of a manifest, or of a level's defaults in a policy, are text as written. */
export function isTextPlace(pointer: string): boolean {
  const key = pointer.replace(/^\/levels\/[^/]+\/defaults/, "").split("/")[1] ?? "";
  return Object.hasOwn(KEYS, key) && KEYS[key as ManifestKey].isText === true;
}

// Policy: what the operator of a machine allows its packs, parsed once and frozen. Must not know what any manifest asks for.
// Without a file the levels below hold; a pack that no file names is at level "untrusted".

import { deepFreeze } from "./freeze.ts";
import { isTextPlace, KEYS, type KeyValues } from "./keys.ts";
import type { ManifestKey } from "./manifest.ts";
import { CAP_KEYS, LEVEL_DEFAULT_KEYS } from "./policy-schema.ts";
import { Problems, type Source } from "./problems.ts";
import { readSize } from "./readers.ts";
import { checkShape } from "./schema.ts";
import { GB, type MemoryShare } from "./sizes.ts";
import { nearestHint, pointerTo, quote } from "./text.ts";
import { readYaml } from "./yaml.ts";

/** The most that a manifest may ask for, by key; a limit that is absent is not capped, anything else absent is not granted. */
export type Caps = Partial<Omit<KeyValues, "dependencies" | "isolated">> & {
  /** wheels: nothing is built from source. */
  readonly dependencies?: "wheels" | "source";
  /** false: the pack may run inside a Python host. Only a pack's own entry has it. */
  readonly isolated?: false;
};

export interface Level {
  /** What holds where a manifest is silent; also grants what it states. */
  readonly defaults: Partial<KeyValues>;
  readonly caps: Caps;
}

interface PackPolicy {
  /** A key of `Policy.levels`. */
  readonly level: string;
  /** Host code may look at this pack's results without the safe copy. */
  readonly trustMemory: boolean;
  /** Replaces the level's limits and adds to its lists. */
  readonly caps: Caps;
}

/** What the machine's packs may have together. Not enforced yet. */
interface Totals {
  readonly memory?: number | MemoryShare;
  readonly cpuPercent?: number;
  readonly shmBytes?: number;
  readonly packs?: number;
}

/** Deeply frozen. */
export interface Policy {
  /** Path of the file it was read from; undefined: the defaults. */
  readonly file: string | undefined;
  readonly levels: ReadonlyMap<string, Level>;
  readonly packs: ReadonlyMap<string, PackPolicy>;
  /** Groups of packs that read each other's segments. */
  readonly share: readonly (readonly string[])[];
  readonly segments: "descriptor" | "mounted";
  readonly totals: Totals;
}

export const DEFAULT_LEVEL = "untrusted";

const DAY_MS = 86_400_000;

const UNTRUSTED: Level = {
  defaults: {},
  caps: {
    dependencies: "wheels",
    max_memory: { percent: 75, atLeastBytes: 8 * GB },
    max_pids: 4096,
    max_shm: 8 * GB,
    max_tmp: 8 * GB,
    data: 100 * GB,
    max_image: 50 * GB,
    timeout: DAY_MS,
  },
};

/** Level "trusted": code the operator would also run without a container. Mounts and the host's own things stay by name. */
const TRUSTED: Level = {
  defaults: {},
  caps: { dependencies: "source", gpu: true, network: "full", max_memory: { percent: 100, atLeastBytes: 8 * GB } },
};

/** What holds without a policy file. */
export function defaultPolicy(): Policy {
  return deepFreeze({
    file: undefined,
    levels: builtInLevels(),
    packs: new Map(),
    share: [],
    segments: "descriptor",
    totals: {},
  });
}

function builtInLevels(): Map<string, Level> {
  return new Map([
    [DEFAULT_LEVEL, UNTRUSTED],
    ["trusted", TRUSTED],
  ]);
}

/** The policy file's text once its shape is checked. */
interface PolicyData {
  readonly levels?: Readonly<Record<string, { defaults?: RawKeys; caps?: RawKeys }>>;
  readonly packs?: Readonly<Record<string, RawKeys & { level?: string; trust_memory?: boolean; isolated?: false }>>;
  readonly share?: readonly string[][];
  readonly segments?: "descriptor" | "mounted";
  readonly totals?: {
    readonly memory?: string | number;
    readonly cpu_percent?: number;
    readonly shm?: string | number;
    readonly packs?: number;
  };
}
type RawKeys = Readonly<Record<string, unknown>>;

/** Reads the text of a policy.yaml; `file` is its path, for messages. Raises POLICY_INVALID with file:line:column. */
export function parsePolicy(text: string, file: string): Policy {
  const source = readYaml(text, file, { code: "POLICY_INVALID", noun: "policy", isText: isTextPlace });
  const problems = new Problems("POLICY_INVALID", file);
  checkShape("policy", source, problems);
  problems.throwIfAny();
  const data = source.data as PolicyData;
  const reader = new PolicyReader(source, problems);
  const levels = reader.readLevels(data);
  const packs = reader.readPacks(data, levels);
  const share = data.share ?? [];
  reader.refuseTwoGroups(share);
  const totals = reader.readTotals(data);
  problems.throwIfAny();
  return deepFreeze({ file, levels, packs, share, segments: data.segments ?? "descriptor", totals });
}

class PolicyReader {
  readonly #source: Source;
  readonly #problems: Problems;

  constructor(source: Source, problems: Problems) {
    this.#source = source;
    this.#problems = problems;
  }

  /** The built-in levels and the file's own, which add to the built-in one of their name, else to "untrusted". */
  readLevels(data: PolicyData): Map<string, Level> {
    const levels = builtInLevels();
    for (const [name, level] of Object.entries(data.levels ?? {})) {
      const pointer = pointerTo("/levels", name);
      const start = name === "trusted" ? TRUSTED : UNTRUSTED;
      levels.set(name, {
        defaults: this.#readKeys<KeyValues>(level.defaults ?? {}, LEVEL_DEFAULT_KEYS, `${pointer}/defaults`),
        caps: { ...start.caps, ...this.#readCaps(level.caps ?? {}, `${pointer}/caps`) },
      });
    }
    return levels;
  }

  readPacks(data: PolicyData, levels: ReadonlyMap<string, Level>): Map<string, PackPolicy> {
    const packs = new Map<string, PackPolicy>();
    for (const [name, entry] of Object.entries(data.packs ?? {})) {
      const pointer = pointerTo("/packs", name);
      const level = entry.level ?? DEFAULT_LEVEL;
      if (!levels.has(level)) {
        const message = `there is no level ${quote(level)}, ${nearestHint(level, [...levels.keys()], "level")}`;
        this.#problems.addAt(this.#source, `${pointer}/level`, message);
      }
      const caps = this.#readCaps(entry, pointer);
      packs.set(name, { level, trustMemory: entry.trust_memory ?? false, caps });
    }
    return packs;
  }

  refuseTwoGroups(share: readonly string[][]): void {
    const seen = new Set<string>();
    for (const [index, group] of share.entries()) {
      for (const [place, pack] of group.entries()) {
        if (seen.has(pack)) {
          this.#problems.addAt(this.#source, `/share/${index}/${place}`, `pack ${quote(pack)} is in a group already`);
        }
        seen.add(pack);
      }
    }
  }

  readTotals({ totals = {} }: PolicyData): Totals {
    const read = (key: "memory" | "shm", raw: string | number) =>
      readSize(raw, { source: this.#source, pointer: `/totals/${key}`, problems: this.#problems }, "1MB");
    return {
      ...(totals.memory === undefined ? {} : { memory: read("memory", totals.memory) }),
      ...(totals.cpu_percent === undefined ? {} : { cpuPercent: totals.cpu_percent }),
      ...(totals.shm === undefined ? {} : { shmBytes: read("shm", totals.shm) as number }),
      ...(totals.packs === undefined ? {} : { packs: totals.packs }),
    };
  }

  #readCaps(raw: RawKeys & { isolated?: false }, pointer: string): Caps {
    const { dependencies } = raw;
    return {
      ...this.#readKeys<Caps>(
        raw,
        CAP_KEYS.filter((key) => key !== "dependencies"),
        pointer,
      ),
      ...(dependencies === undefined ? {} : { dependencies: dependencies as "wheels" | "source" }),
      ...(raw.isolated === undefined ? {} : { isolated: false }),
    };
  }

  #readKeys<Values>(raw: RawKeys, keys: readonly ManifestKey[], pointer: string): Partial<Values> {
    const read = (key: ManifestKey) =>
      KEYS[key].read(raw[key], { source: this.#source, pointer: `${pointer}/${key}`, problems: this.#problems });
    return Object.fromEntries(
      keys.filter((key) => raw[key] !== undefined).map((key) => [key, read(key)]),
    ) as Partial<Values>;
  }
}

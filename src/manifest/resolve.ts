// Resolve: what a manifest asks for, and what the policy makes of it: refused, granted, or filled in where it is silent.
// Nothing is weakened or cut down silently: what a manifest states it gets, or it does not start.

import { PyisolateError } from "../errors.ts";
import { GRANTS, type Grant, type GrantKey } from "./grants.ts";
import { KEYS, type KeyValues } from "./keys.ts";
import { formatPosition, type MachineSize, type Manifest, type ManifestKey, type SourcePosition } from "./manifest.ts";
import { refuseNotYet } from "./not-yet.ts";
import { type Caps, DEFAULT_LEVEL, type Level, type Policy } from "./policy.ts";
import { approximateSize, formatSize, type MemoryShare } from "./sizes.ts";
import { quote } from "./text.ts";

/** A manifest as it was written: what it is silent about is absent. */
export interface ManifestRequest {
  readonly file: string;
  readonly stated: ReadonlyMap<ManifestKey, SourcePosition>;
  readonly wishes: Partial<KeyValues> & Pick<KeyValues, "name" | "version">;
}

const LIMIT_KEYS = [
  "max_memory",
  "max_cpu_percent",
  "max_pids",
  "max_shm",
  "max_tmp",
  "data",
  "max_image",
  "timeout",
] as const;
type LimitKey = (typeof LIMIT_KEYS)[number];

/**
 * Gives every key a value. Raises POLICY_REFUSED with every key that asks for more than the policy allows, else
 * ISOLATION_UNAVAILABLE with every key that is allowed what this version cannot do.
 */
export function resolveManifest(request: ManifestRequest, policy: Policy, machine: MachineSize): Manifest {
  const resolver = new Resolver(request, policy, machine);
  const manifest = resolver.resolve();
  resolver.throwIfRefused();
  refuseNotYet(manifest, policy.file);
  return manifest;
}

interface Refusal {
  readonly key: ManifestKey;
  readonly at: SourcePosition;
  readonly asked: string;
  readonly allowed: string;
  readonly message: string;
  /** The line of the pack's entry in the policy that would allow it; undefined: no policy can. */
  readonly policyLine: string | undefined;
}

class Resolver {
  readonly #request: ManifestRequest;
  readonly #policy: Policy;
  readonly #machine: MachineSize;
  readonly #levelName: string;
  readonly #level: Level;
  readonly #own: Caps;
  readonly #refusals: Refusal[] = [];

  constructor(request: ManifestRequest, policy: Policy, machine: MachineSize) {
    const pack = policy.packs.get(request.wishes.name);
    this.#request = request;
    this.#policy = policy;
    this.#machine = machine;
    this.#levelName = pack?.level ?? DEFAULT_LEVEL;
    this.#level = policy.levels.get(this.#levelName) as Level; // parsePolicy lets no unknown level through
    this.#own = pack?.caps ?? {};
  }

  resolve(): Manifest {
    const { file, stated, wishes } = this.#request;
    const limits = Object.fromEntries(LIMIT_KEYS.map((key) => [key, this.#limit(key)])) as Record<LimitKey, number>;
    return {
      file,
      stated,
      level: this.#levelName,
      sourceBuilds: this.#checkSourceBuilds(),
      name: wishes.name,
      version: wishes.version,
      python: this.#free("python"),
      dependencies: this.#free("dependencies"),
      systemPackages: this.#free("system_packages"),
      isolated: this.#checkIsolated(),
      shareTorch: this.#free("share_torch"),
      gpu: this.#gpu(),
      maxMemoryBytes: limits.max_memory,
      maxCpuPercent: limits.max_cpu_percent,
      maxPids: limits.max_pids,
      maxShmBytes: limits.max_shm,
      maxTmpBytes: limits.max_tmp,
      dataBytes: limits.data === 0 ? undefined : limits.data,
      maxImageBytes: limits.max_image,
      timeoutMs: limits.timeout === Number.POSITIVE_INFINITY ? undefined : limits.timeout,
      network: this.#granted("network"),
      mounts: this.#granted("mounts"),
      env: this.#free("env"),
      runtime: this.#granted("runtime") || undefined,
      indexes: this.#granted("indexes"),
      findLinks: this.#granted("find_links"),
      services: this.#granted("services"),
      routes: this.#granted("routes"),
      web: this.#granted("web"),
    };
  }

  throwIfRefused(): void {
    const [first] = this.#refusals.sort((a, b) => a.at.line - b.at.line || a.at.column - b.at.column);
    if (first === undefined) return;
    const { file } = this.#request;
    const lines = this.#refusals.map(({ at, message }) => `${formatPosition(file, at)}: ${message}`);
    throw new PyisolateError("POLICY_REFUSED", lines.join("\n"), {
      file,
      line: first.at.line,
      column: first.at.column,
      key: first.key,
      asked: first.asked,
      allowed: first.allowed,
      level: this.#levelName,
      policy: this.#policy.file,
      next: this.#nextStep(),
    });
  }

  /** A key that no policy restricts. */
  #free<Key extends "python" | "dependencies" | "system_packages" | "share_torch" | "env">(key: Key): KeyValues[Key] {
    return (this.#request.wishes[key] ?? this.#silent(key)) as KeyValues[Key];
  }

  /** What holds where the manifest is silent. */
  #silent<Key extends ManifestKey>(key: Key): KeyValues[Key] {
    return (this.#level.defaults[key] ?? KEYS[key].fallback?.(this.#machine)) as KeyValues[Key];
  }

  #limit(key: LimitKey): number {
    const asked = this.#request.wishes[key];
    const allowed = this.#limitAllowed(key);
    if (asked === undefined) return Math.min(this.#number(this.#silent(key)), allowed);
    const wanted = this.#number(asked);
    if (wanted <= allowed) return wanted;
    const cores = key === "max_cpu_percent" && wanted > this.#machineCpuPercent();
    this.#refuse(key, {
      asked: showLimit(key, wanted, formatSize),
      allowed: showLimit(key, allowed, approximateSize),
      by: cores ? `this machine has ${this.#machine.cpus} cores, which is` : this.#whoAllows(key),
      policyLine: cores ? undefined : `${key}: ${showLimit(key, wanted, formatSize)}`,
    });
    return wanted;
  }

  /** The pack's own entry replaces the level's cap; a level's default is never above what the level allows. */
  #limitAllowed(key: LimitKey): number {
    const own = this.#own[key];
    const cap = this.#level.caps[key];
    const usual = this.#level.defaults[key];
    const level = Math.max(this.#number(cap ?? Number.POSITIVE_INFINITY), this.#number(usual ?? 0));
    const allowed = own === undefined ? level : this.#number(own);
    return key === "max_cpu_percent" ? Math.min(allowed, this.#machineCpuPercent()) : allowed;
  }

  #machineCpuPercent(): number {
    return Math.floor(this.#machine.cpus * 100);
  }

  #number(value: number | MemoryShare): number {
    if (typeof value === "number") return value;
    return Math.max(Math.floor((this.#machine.memoryBytes * value.percent) / 100), value.atLeastBytes ?? 0);
  }

  #allowed<Key extends GrantKey>(key: Key): KeyValues[Key] {
    const grant = GRANTS[key] as unknown as Grant<KeyValues[Key]>;
    const level = this.#level.caps[key] as KeyValues[Key] | undefined;
    const usual = this.#level.defaults[key] as KeyValues[Key] | undefined;
    const ofLevel = usual === undefined ? level : covering(grant, level, usual);
    return grant.merge(ofLevel, this.#own[key] as KeyValues[Key] | undefined);
  }

  #granted<Key extends GrantKey>(key: Key): KeyValues[Key] {
    const grant = GRANTS[key] as unknown as Grant<KeyValues[Key]>;
    const allowed = this.#allowed(key);
    const asked = this.#request.wishes[key] as KeyValues[Key] | undefined;
    if (asked === undefined) {
      const usual = this.#silent(key);
      return grant.missing(usual, allowed) === undefined ? usual : grant.nothing;
    }
    const missing = grant.missing(asked, allowed);
    if (missing !== undefined) {
      this.#refuse(key, {
        asked: grant.show(missing),
        allowed: grant.show(allowed),
        by: this.#whoAllows(key),
        policyLine: `${key}: ${grant.show(grant.merge(this.#own[key] as KeyValues[Key] | undefined, missing))}`,
      });
    }
    return asked;
  }

  /** "optional" is the manifest's own word for doing without. */
  #gpu(): KeyValues["gpu"] {
    if (this.#request.wishes.gpu !== "optional") return this.#granted("gpu");
    return this.#allowed("gpu") === false ? false : "optional";
  }

  #checkIsolated(): boolean {
    const isolated = this.#request.wishes.isolated ?? true;
    if (!isolated && this.#own.isolated !== false) {
      this.#refuse("isolated", {
        asked: "false",
        allowed: "true",
        by: this.#whoAllows("isolated"),
        policyLine: "isolated: false",
      });
    }
    return isolated;
  }

  #checkSourceBuilds(): boolean {
    const allowed = (this.#own.dependencies ?? this.#level.caps.dependencies) === "source";
    if (allowed) return true;
    const willing = [...this.#policy.levels].find(([, level]) => level.caps.dependencies === "source")?.[0];
    for (const { requirement, needsBuild, at } of this.#request.wishes.dependencies ?? []) {
      if (!needsBuild) continue;
      const remedy = willing === undefined ? "" : `; level ${quote(willing)} allows it`;
      this.#refusals.push({
        key: "dependencies",
        at,
        asked: requirement,
        allowed: "wheels",
        message: `dependencies: ${quote(requirement)} has to be built from its source, but ${this.#whoAllows("dependencies")} wheels only${remedy}`,
        policyLine: willing === undefined ? "dependencies: source" : `level: ${willing}`,
      });
    }
    return false;
  }

  #whoAllows(key: keyof Caps): string {
    const { name } = this.#request.wishes;
    return this.#own[key] === undefined ? `level ${quote(this.#levelName)} allows` : `the policy allows ${quote(name)}`;
  }

  #refuse(
    key: ManifestKey,
    { asked, allowed, by, policyLine }: { asked: string; allowed: string; by: string; policyLine: string | undefined },
  ): void {
    const at = this.#request.stated.get(key) ?? { line: 0, column: 0 };
    const message = `${key}: asked for ${asked}, ${by} ${allowed}`;
    this.#refusals.push({ key, at, asked, allowed, message, policyLine });
  }

  #nextStep(): string {
    const lines = [...new Set(this.#refusals.flatMap(({ policyLine }) => policyLine ?? []))];
    const file = this.#policy.file ?? "the policy file (--policy FILE; docs/manifest.md says where it is looked for)";
    const name = yamlKey(this.#request.wishes.name);

    const steps = [
      lines.length === 0 ? "" : `To allow it, put into ${file}:\npacks:\n  ${name}:\n    ${lines.join("\n    ")}`,
      lines.length === this.#refusals.length ? "" : `Ask for no more than this machine has in ${this.#request.file}.`,
    ];
    return steps.filter((step) => step !== "").join("\n");
  }
}

/** What a level allows when it also states `usual` as its default. */
function covering<Value>(grant: Grant<Value>, cap: Value | undefined, usual: Value): Value {
  if (cap === undefined || grant.missing(cap, usual) === undefined) return usual;
  return grant.missing(usual, cap) === undefined ? cap : grant.merge(cap, usual);
}

function showLimit(key: LimitKey, value: number, showSize: (bytes: number) => string): string {
  if (key === "timeout") return value === Number.POSITIVE_INFINITY ? "none" : String(value / 1000);
  if (key === "max_cpu_percent" || key === "max_pids") return String(value);
  return key === "data" && value === 0 ? "none" : showSize(value);
}

function yamlKey(name: string): string {
  return /^[A-Za-z_][\w.-]*$/.test(name) && !/^(?:true|false|null)$/i.test(name) ? name : JSON.stringify(name);
}

// Grants: for every key that is not a limit, what allows what. Pure comparisons; who asks and who grants is resolve.ts.

import { hostCovers } from "./hosts.ts";
import type { KeyValues } from "./keys.ts";
import type { GpuRequest, Mount, NetworkRequest } from "./manifest.ts";

export interface Grant<Value> {
  /** What a manifest gets without asking. */
  readonly nothing: Value;
  /** What may be asked for, from what the level and the pack's own entry allow; either may be absent. */
  merge(level: Value | undefined, pack: Value | undefined): Value;
  /** The part of `asked` that `allowed` does not cover, in the form of the key; undefined: all is covered. */
  missing(asked: Value, allowed: Value): Value | undefined;
  /** The value as YAML on one line. */
  show(value: Value): string;
}

const strings: Grant<readonly string[]> = {
  nothing: [],
  merge: (level = [], pack = []) => [...new Set([...level, ...pack])],
  missing: (asked, allowed) => orNothing(asked.filter((entry) => !allowed.includes(entry))),
  show: (entries) => (entries.length === 0 ? "none" : JSON.stringify(entries)),
};

const network: Grant<NetworkRequest> = {
  nothing: "none",
  merge(level = "none", pack) {
    if (pack === undefined) return level;
    if (typeof pack === "string" || level === "none") return pack;
    return level === "full" ? "full" : strings.merge(level, pack);
  },
  missing(asked, allowed) {
    if (asked === "none" || allowed === "full") return undefined;
    if (asked === "full") return "full";
    const granted = allowed === "none" ? [] : allowed;
    return orNothing(asked.filter((host) => !granted.some((entry) => hostCovers(entry, host))));
  },
  show: (value) => (typeof value === "string" ? value : strings.show(value)),
};

const gpu: Grant<GpuRequest> = {
  nothing: false,
  merge: (level = false, pack = level) => pack,
  missing: (asked, allowed) => (coversGpu(allowed, asked) ? undefined : asked),
  show: (value) => (typeof value === "object" ? JSON.stringify(value) : String(value)),
};

function coversGpu(allowed: GpuRequest, asked: GpuRequest): boolean {
  if (asked === false || allowed === true || allowed === "optional") return true;
  if (allowed === false || typeof asked !== "object") return false;
  if ("count" in allowed) return "count" in asked && asked.count <= allowed.count;
  return "ids" in asked && asked.ids.every((id) => allowed.ids.includes(id));
}

const mounts: Grant<readonly Mount[]> = {
  nothing: [],
  merge: (level = [], pack = []) => [...level, ...pack],
  missing: (asked, allowed) =>
    orNothing(asked.filter((mount) => !allowed.some((granted) => coversMount(granted, mount)))),
  show: (entries) =>
    entries.length === 0
      ? "none"
      : JSON.stringify(entries.map(({ source, write }) => (write ? { source, write } : { source }))),
};

function coversMount(granted: Mount, asked: Mount): boolean {
  const below = granted.source === "/" ? "/" : `${granted.source}/`;
  return (asked.source === granted.source || asked.source.startsWith(below)) && (granted.write || !asked.write);
}

/** gVisor is stronger than what an engine usually runs, so it needs no grant. */
const runtime: Grant<string> = {
  nothing: "",
  merge: (level = "", pack = level) => pack,
  missing: (asked, allowed) => (asked === allowed || asked === "runsc" || asked === "" ? undefined : asked),
  show: (value) => (value === "" ? "runsc" : value),
};

export const GRANTS = {
  gpu,
  network,
  mounts,
  runtime,
  indexes: strings,
  find_links: strings,
  services: strings,
  routes: strings,
  web: strings,
} as const satisfies { readonly [Key in keyof KeyValues]?: Grant<KeyValues[Key]> };

export type GrantKey = keyof typeof GRANTS;

function orNothing<Entry>(entries: readonly Entry[]): readonly Entry[] | undefined {
  return entries.length === 0 ? undefined : entries;
}

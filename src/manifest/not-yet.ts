// Not yet: a manifest that is allowed what this version cannot do is refused rather than started with less.
// What that is stands in the column `notYet` of keys.ts.

import { PyisolateError } from "../errors.ts";
import { GRANTS } from "./grants.ts";
import { KEYS, MANIFEST_KEYS, type NotYet } from "./keys.ts";
import { formatPosition, type Manifest, type ManifestKey } from "./manifest.ts";
import { manifestMapping } from "./mapping.ts";

interface Ask {
  readonly key: ManifestKey;
  readonly message: string;
  readonly instead: string | undefined;
}

/**
 * Holds a manifest, and what its level in the policy gives it unasked, against this version.
 * Raises ISOLATION_UNAVAILABLE with every such key. `policyFile`: undefined is the built-in policy.
 */
export function refuseNotYet(manifest: Manifest, policyFile: string | undefined): void {
  const values = manifestMapping(manifest);
  const asks = MANIFEST_KEYS.flatMap((key): Ask[] => {
    const notYet = KEYS[key].notYet as NotYet<unknown> | undefined;
    if (notYet?.isAsked?.(values[key]) !== true) return [];
    const message = `${key}: asks for ${show(key, values[key])}; this version cannot ${notYet.cannot}`;
    return [{ key, message: `${placeOf(key, manifest, policyFile)}: ${message}`, instead: notYet.instead }];
  });
  const [first] = asks.sort((a, b) => lineOf(a.key, manifest) - lineOf(b.key, manifest));
  if (first === undefined) return;
  const at = manifest.stated.get(first.key);
  const file = at === undefined ? policyFile : manifest.file;
  throw new PyisolateError("ISOLATION_UNAVAILABLE", asks.map(({ message }) => message).join("\n"), {
    file,
    key: first.key,
    ...at,
    next: nextStep(asks),
  });
}

/** What the policy gives unasked has none, and comes first. */
function lineOf(key: ManifestKey, { stated }: Manifest): number {
  return stated.get(key)?.line ?? 0;
}

/** A level's default has no line of its own: the policy keeps values only. */
function placeOf(key: ManifestKey, { file, level, stated }: Manifest, policyFile: string | undefined): string {
  const at = stated.get(key);
  return at === undefined ? `${policyFile}: levels.${level}.defaults` : formatPosition(file, at);
}

function show(key: ManifestKey, value: unknown): string {
  return key in GRANTS ? GRANTS[key as keyof typeof GRANTS].show(value as never) : String(value);
}

function nextStep(asks: readonly Ask[]): string {
  const keys = asks.map(({ key }) => key).join(", ");
  const instead = asks.flatMap((ask) => ask.instead ?? []).map((text) => `, or use ${text}`);
  return `Remove ${keys}${instead.join("")}.`;
}

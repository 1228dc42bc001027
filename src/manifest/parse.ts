// Parse: text or a config object → Manifest. The only door through which one is made.

import { PyisolateError } from "../errors.ts";
import { deepFreeze } from "./freeze.ts";
import { isTextPlace, KEYS, type KeyValues, MANIFEST_KEYS } from "./keys.ts";
import {
  type ExtensionConfig,
  formatPosition,
  type MachineSize,
  type Manifest,
  type ManifestKey,
  type SourcePosition,
} from "./manifest.ts";
import type { Policy } from "./policy.ts";
import { Problems, type Source } from "./problems.ts";
import { type ManifestRequest, resolveManifest } from "./resolve.ts";
import { checkShape } from "./schema.ts";
import { pointerTo } from "./text.ts";
import { readYaml } from "./yaml.ts";

/** What a manifest is resolved with. */
export interface ManifestContext {
  readonly policy: Policy;
  readonly machine: MachineSize;
  /** This program runs packs in containers only: it refuses a manifest that wants none, whatever the policy says. */
  readonly containersOnly?: boolean;
}

/** Reads the text of a manifest.yaml; `file` is its path, for messages. Raises MANIFEST_INVALID, ISOLATION_UNAVAILABLE, POLICY_REFUSED. */
export function parseManifest(text: string, file: string, context: ManifestContext): Manifest {
  return readManifest(readManifestYaml(text, file), context);
}

/**
 * A manifest stated by a program. What `config` states goes before `base`, the pack's manifest.yaml; without a base, a
 * version that is not given is "0.0.0". Positions of what config states are 0:0.
 * Raises MANIFEST_INVALID, ISOLATION_UNAVAILABLE for what this version cannot do, POLICY_REFUSED.
 */
export function manifestFromConfig(
  config: ExtensionConfig,
  base: { readonly text: string; readonly file: string } | undefined,
  context: ManifestContext,
): Manifest {
  const file = base === undefined ? undefined : readManifestYaml(base.text, base.file);
  const stated = Object.entries(config).filter(([, value]) => value !== undefined);
  const configKeys = new Set(stated.map(([key]) => pointerTo("", key)));
  const data: Record<string, unknown> = Object.assign(Object.create(null), file?.data ?? { version: "0.0.0" });
  for (const [key, value] of stated) data[key] = value;
  const position = (pointer: string, part?: "key" | "value"): SourcePosition =>
    file === undefined || configKeys.has(pointer.split("/", 2).join("/"))
      ? { line: 0, column: 0 }
      : file.position(pointer, part);
  return readManifest({ file: file?.file ?? "config", data, position }, context);
}

function readManifestYaml(text: string, file: string): Source {
  return readYaml(text, file, { code: "MANIFEST_INVALID", noun: "manifest", isText: isTextPlace });
}

function readManifest(source: Source, { policy, machine, containersOnly }: ManifestContext): Manifest {
  const problems = new Problems("MANIFEST_INVALID", source.file);
  checkShape("manifest", source, problems);
  const data = source.data as Readonly<Record<string, unknown>>;
  const keys = MANIFEST_KEYS.filter((key) => data[key] !== undefined);
  const values: Partial<Record<ManifestKey, unknown>> = {};
  const stated = new Map<ManifestKey, SourcePosition>();
  for (const key of keys) {
    const pointer = pointerTo("", key);
    if (problems.isIn(pointer)) continue;
    values[key] = KEYS[key].read(data[key], { source, pointer, problems });
    stated.set(key, source.position(pointer));
  }
  problems.throwIfAny();
  const wishes = values as Partial<KeyValues> & Pick<KeyValues, "name" | "version">;
  const request = { file: source.file, stated, wishes };
  if (containersOnly === true) refuseUnisolated(request);
  return deepFreeze(resolveManifest(request, policy, machine));
}

function refuseUnisolated({ file, stated, wishes }: ManifestRequest): void {
  if (wishes.isolated !== false) return;
  const at = stated.get("isolated") ?? { line: 0, column: 0 };
  const where = formatPosition(file, at);
  throw new PyisolateError(
    "POLICY_REFUSED",
    `${where}: isolated: false runs the pack inside a Python host, and this program is not one`,
    { file, key: "isolated", ...at, next: "Remove the line, or load the pack from a Python host." },
  );
}

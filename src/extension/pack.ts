// Pack: a folder with a manifest, or a program's ExtensionConfig, read into a Manifest under the operator's policy.

import { readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { PyisolateError } from "../errors.ts";
import type { Manifest, ExtensionConfig as ManifestConfig } from "../manifest/manifest.ts";
import { manifestFromConfig, parseManifest } from "../manifest/parse.ts";
import { defaultPolicy, type Policy, parsePolicy } from "../manifest/policy.ts";
import { describe } from "../manifest/text.ts";
import type { Settings } from "./settings.ts";

/** A pack as a program states it: where its code is, and keys of the manifest, which win over the folder's manifest.yaml. */
export interface ExtensionConfig extends ManifestConfig {
  /** Folder with the pack's code. */
  readonly module_path?: string;
}

export interface Pack {
  readonly manifest: Manifest;
  /** Absolute path of the folder with the pack's code. */
  readonly directory: string;
  readonly sharing: PackSharing;
}

/** What the operator says about the memory a pack shares with its host. */
export interface PackSharing {
  /** Names of the packs that read each other's memory, this one among them; undefined: this pack is alone. */
  readonly group: readonly string[] | undefined;
  /** Host code looks at the pack's results where they lie. */
  readonly trustMemory: boolean;
  readonly segments: Policy["segments"];
}

/**
 * Reads a pack from its folder, or from a config whose keys win over the folder's manifest.
 * Raises USAGE for what is neither, MANIFEST_NOT_FOUND, MANIFEST_INVALID, POLICY_INVALID, POLICY_REFUSED, also for a pack
 * that is not to run in a container, and ISOLATION_UNAVAILABLE for what this version cannot do.
 */
export async function readPack(source: string | ExtensionConfig, settings: Settings): Promise<Pack> {
  requireSource(source);
  const policy = await readPolicy(settings);
  const context = { policy, machine: settings.machine, containersOnly: true };
  if (typeof source === "string") {
    const file = join(source, "manifest.yaml");
    const text = await readManifest(source, file);
    return packOf(parseManifest(text, file, context), source, policy);
  }
  const { module_path: directory, ...keys } = source;
  if (directory === undefined) {
    throw new PyisolateError("MANIFEST_NOT_FOUND", `the config of "${source.name ?? "a pack"}" has no module_path`, {
      next: "Set module_path to the folder with the pack's code.",
    });
  }
  const file = join(directory, "manifest.yaml");
  const text = await readOptional(file);
  const base = text === undefined ? undefined : { text, file };
  return packOf(manifestFromConfig(keys, base, context), directory, policy);
}

/** Programs in JavaScript may pass anything. */
function requireSource(source: unknown): asserts source is string | ExtensionConfig {
  if (typeof source === "string") return;
  if (typeof source === "object" && source !== null && !Array.isArray(source)) {
    const { module_path: directory } = source as { module_path?: unknown };
    if (directory === undefined || typeof directory === "string") return;
    throw new PyisolateError("USAGE", `module_path of a config must be a folder's path, got ${describe(directory)}`, {
      next: "Set module_path to the folder with the pack's code.",
    });
  }
  throw new PyisolateError("USAGE", `a pack is a folder's path or a config object, got ${describe(source)}`, {
    next: 'For example: loadExtension("packs/my_pack"), or loadExtension({ module_path: "packs/my_pack" }).',
  });
}

function packOf(manifest: Manifest, directory: string, policy: Policy): Pack {
  const { name } = manifest;
  const sharing: PackSharing = {
    group: policy.share.find((group) => group.includes(name)),
    trustMemory: policy.packs.get(name)?.trustMemory ?? false,
    segments: policy.segments,
  };
  return { manifest, directory: resolve(directory), sharing };
}

/** The operator's policy, or the defaults. Raises POLICY_INVALID. */
export async function readPolicy(settings: Settings): Promise<Policy> {
  const { file, isRequired } = settings.policy;
  const text = await readOptional(file);
  if (text !== undefined) return parsePolicy(text, file);
  if (!isRequired) return defaultPolicy();
  throw new PyisolateError("POLICY_INVALID", `there is no policy file ${file}`, {
    next: "Check the path given as --policy.",
  });
}

async function readManifest(directory: string, file: string): Promise<string> {
  const text = await readOptional(file);
  if (text !== undefined) return text;
  const folder = await stat(directory).catch(() => undefined);
  const what = folder?.isDirectory() ? `${directory} has no manifest.yaml` : `there is no folder ${directory}`;
  throw new PyisolateError("MANIFEST_NOT_FOUND", what, {
    next: "A pack is a folder with a manifest.yaml; two lines are enough:\n  name: my_pack\n  version: 1.0.0",
  });
}

async function readOptional(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new PyisolateError("MANIFEST_NOT_FOUND", `cannot read ${file}: ${(error as Error).message}`, { file }, error);
  }
}

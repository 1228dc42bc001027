// Requirements: what a manifest asks of uv, as lines of a requirements file, and the wheels of the pack's own folder among them.

import { lstat } from "node:fs/promises";
import { basename, join } from "node:path";
import { PyisolateError } from "../errors.ts";
import { type Dependency, formatPosition, type Manifest, type SourcePosition } from "../manifest/manifest.ts";
import { type Reading, shortReading } from "./reading.ts";
import { digestFile, findUncopied } from "./source.ts";

/** A wheel that lies in the pack's folder. */
export interface LocalWheel {
  /** File name. */
  readonly name: string;
  readonly source: string;
  readonly sizeBytes: number;
  /** sha256 of its content. */
  readonly digest: string;
}

export interface Requirement {
  /** One line for uv; a local wheel as ./wheels/NAME. */
  readonly line: string;
  /** Where it stands in the manifest; undefined for what `share_torch` adds. */
  readonly at: SourcePosition | undefined;
}

export interface Requirements {
  readonly entries: readonly Requirement[];
  readonly wheels: readonly LocalWheel[];
}

/**
 * Raises DEPENDENCY_UNRESOLVED for what cannot be locked with hashes (a git repository), SOURCE_INVALID for a path that is
 * no wheel, or is missing, and the reading's abort reason.
 */
export async function readRequirements(
  manifest: Manifest,
  packDirectory: string,
  torchRequirement: string,
  reading: Reading = shortReading(),
): Promise<Requirements> {
  const entries: Requirement[] = [];
  const wheels: LocalWheel[] = [];
  for (const dependency of manifest.dependencies) {
    const { requirement, kind, at } = dependency;
    const where = formatPosition(manifest.file, at);
    if (kind === "git") throw unlockable(requirement, where);
    if (kind === "path") {
      const wheel = await readWheel(dependency, packDirectory, where, reading);
      wheels.push(wheel);
      entries.push({ line: `./wheels/${wheel.name}`, at });
    } else {
      entries.push({ line: requirement, at });
    }
  }
  const hasTorch = entries.some(({ line }) => packageName(line) === "torch");
  if (manifest.shareTorch && !hasTorch) entries.push({ line: torchRequirement, at: undefined });
  return { entries, wheels };
}

/** Normalised name of the package a requirement names: lower case, runs of -_. as one "-". */
export function packageName(line: string): string {
  const wheel = /([^/]+?)-[^/]*\.whl$/.exec(line)?.[1];
  const name = wheel ?? /^\s*([A-Za-z0-9][A-Za-z0-9._-]*)/.exec(line)?.[1] ?? "";
  return normalizeName(name);
}

export function normalizeName(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, "-");
}

function unlockable(requirement: string, where: string): PyisolateError {
  return new PyisolateError(
    "DEPENDENCY_UNRESOLVED",
    `${where}: "${requirement}" comes from version control, so it has no wheel whose hash can be locked`,
    { next: "Build a wheel of it once (pip wheel), put it into the pack's folder, and list it as ./wheels/NAME.whl." },
  );
}

async function readWheel(
  dependency: Dependency,
  packDirectory: string,
  where: string,
  reading: Reading,
): Promise<LocalWheel> {
  const { requirement, needsBuild } = dependency;
  if (needsBuild) {
    throw new PyisolateError(
      "SOURCE_INVALID",
      `${where}: "${requirement}" is not a wheel, expected a name that ends in .whl`,
      { next: "Build a wheel of it once (pip wheel), and list that." },
    );
  }
  const source = join(packDirectory, requirement);
  const uncopied = await findUncopied(packDirectory, requirement);
  if (uncopied !== undefined) {
    throw new PyisolateError(
      "SOURCE_INVALID",
      `${where}: "${requirement}" goes through ${uncopied}, which is never copied`,
      {
        next: "Put the wheel itself into an ordinary folder of the pack, such as wheels.",
      },
    );
  }
  const file = await lstat(source).catch(() => undefined);
  if (!file?.isFile()) {
    throw new PyisolateError("SOURCE_INVALID", `${where}: there is no file ${source}`, {
      next: "Put the wheel there, or remove the line.",
    });
  }
  return { name: basename(source), source, sizeBytes: file.size, digest: await digestFile(source, file.size, reading) };
}

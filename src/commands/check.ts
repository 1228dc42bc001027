// `pyisolate check`: is this manifest valid, and does the policy allow what it asks for? Needs no Docker.

import { readPack } from "../extension/pack.ts";
import { settingsFrom } from "../extension/settings.ts";
import type { CommandContext } from "./context.ts";

export interface CheckResult {
  readonly name: string;
  readonly version: string;
  /** The file that was read. */
  readonly file: string;
  readonly python: string;
  readonly dependencies: readonly string[];
}

export async function check(directory: string, context: CommandContext): Promise<CheckResult> {
  const { manifest } = await readPack(directory, settingsFrom(context));
  const { name, version, file, python } = manifest;
  return { name, version, file, python, dependencies: manifest.dependencies.map((each) => each.requirement) };
}

// Mounts: the folders of the machine a manifest mounts are what they are called. The policy grants by path and the engine
// follows links, so a link in a source would mount what nobody granted. Must not know the policy or the engine.

import { realpath } from "node:fs/promises";
import { PyisolateError } from "../errors.ts";
import { formatPosition, type Manifest, type Mount } from "../manifest/manifest.ts";

/**
 * Call it right before the engine is asked: what a pack that runs already changes afterwards in a folder it may write is not
 * seen. Raises POLICY_REFUSED for a source with a link in it, ISOLATION_UNAVAILABLE for one that cannot be looked up.
 */
export async function requireRealSources(manifest: Manifest): Promise<void> {
  for (const [index, mount] of manifest.mounts.entries()) await requireRealSource(manifest, mount, index);
}

async function requireRealSource(manifest: Manifest, { source }: Mount, index: number): Promise<void> {
  const at = manifest.stated.get("mounts");
  const place = `${at === undefined ? manifest.file : formatPosition(manifest.file, at)}: mounts[${index}].source`;
  const found = await realpath(source).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === "ENOENT" ? "does not exist" : `cannot be looked up (${error.code})`;
    const next = "Make it and let this user reach it, or remove the mount.";
    throw new PyisolateError("ISOLATION_UNAVAILABLE", `${place}: ${source} ${why}`, { ...at, next }, error);
  });
  if (found === source) return;
  const message = `${place}: ${source} leads over a link to ${found}, but folders are granted by their real path`;
  const next = `Write ${found} into the manifest if that is meant; the policy has to grant it.`;
  throw new PyisolateError("POLICY_REFUSED", message, { ...at, key: "mounts", asked: found, allowed: source, next });
}

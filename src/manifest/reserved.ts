// Reserved: what in a pack's container belongs to pyisolate, so that no manifest may state it. The one place that says so;
// the container's spec trusts it.

/** Mounting over one of these, below it or over a folder that holds it would replace a part of the sandbox or the image. */
const RESERVED_TARGETS = [
  "/opt/env",
  "/opt/pyisolate",
  "/pack",
  "/data",
  "/tmp",
  "/run",
  "/proc",
  "/sys",
  "/dev",
  "/usr",
  "/bin",
  "/sbin",
  "/lib",
  "/lib32",
  "/lib64",
  "/libx32",
  "/etc",
] as const;

/** The reserved folder that a mount at `target` would replace or open; undefined: none. `target` is absolute, without "..". */
export function reservedTarget(target: string): string | undefined {
  return RESERVED_TARGETS.find((folder) => isWithin(folder, target) || isWithin(target, folder));
}

/** Whether absolute `path` is `folder` or below it. */
function isWithin(path: string, folder: string): boolean {
  return folder === "/" || path === folder || path.startsWith(`${folder}/`);
}

/**
 * As a JSON Schema pattern: what the runtime sets, or does not start with. LD_PRELOAD and its like are not here: they give a
 * pack nothing that its code has not got, and preloading an allocator is common.
 */
export const RESERVED_ENV_PATTERN = "^(HOME|USER|LOGNAME|PYTHONPATH|PYTHONHOME|PYISOLATE_.*)$";
export const RESERVED_ENV_TEXT = "HOME, USER, LOGNAME, PYTHONPATH, PYTHONHOME or PYISOLATE_…";

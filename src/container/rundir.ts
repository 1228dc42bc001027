// Run directory: where the sockets of this user's programs and their packs live, and who may reach them.
//   <run root>/            0700, ours: nobody else passes
//   <run root>/<owner>/    one per program; owner.sock answers as long as that program lives
//   <run root>/<owner>/<n>/  0755, one per pack, bind-mounted into its container; control.sock and segments.sock 0666
// The 0700 root is what keeps others out, so the modes below it can let any container uid in. Must not know Docker.

import { randomBytes } from "node:crypto";
import { chmod, lstat, mkdir, readdir, rm, rmdir } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { PyisolateError } from "../errors.ts";

/** File in an owner's directory that tells whether the owner lives. */
export const ownerSocketName = "owner.sock";
/** File in a pack's directory that its worker dials. */
export const controlSocketName = "control.sock";
/** File in a pack's directory that its worker dials before the control socket, where memory goes by descriptor. */
const segmentsSocketName = "segments.sock";

/** Bytes of a Unix socket path the kernel takes, without the final NUL. */
const maxSocketPathBytes = 107;

/** The path of the run root; nothing is made. `xdgRuntimeDir` is the value of XDG_RUNTIME_DIR. */
export function chooseRunRoot(user: { readonly xdgRuntimeDir: string | undefined; readonly uid: number }): string {
  if (user.xdgRuntimeDir) return join(user.xdgRuntimeDir, "pyisolate");
  return user.uid === 0 ? "/run/pyisolate" : `/tmp/pyisolate-${user.uid}`;
}

/**
 * Makes the run root unless it exists, and refuses one that somebody else could have prepared or can enter.
 * Raises ISOLATION_UNAVAILABLE.
 */
export async function openRunRoot(runRoot: string): Promise<void> {
  await mkdir(runRoot, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw unusableRunRoot(runRoot, `it cannot be made (${error.code})`, error);
  });
  const found = await orUnusable(runRoot, "looked at", lstat(runRoot));
  const uid = process.getuid?.();
  if (!found.isDirectory()) throw unusableRunRoot(runRoot, "expected a directory, got a link or a file");
  if (found.uid !== uid) throw unusableRunRoot(runRoot, `expected owner ${uid}, got ${found.uid}`);
  const mode = found.mode & 0o7777;
  if (mode !== 0o700) throw unusableRunRoot(runRoot, `expected mode 0700, got 0${mode.toString(8)}`);
}

/** One program's directory in the run root. */
export interface OwnerDirectory {
  /** Also the value of its containers' label pyisolate.owner. */
  readonly path: string;
  readonly id: string;
  /** uid and gid of this program. */
  readonly user: { readonly uid: number; readonly gid: number };
  /** Makes the directory of one pack. Raises ISOLATION_UNAVAILABLE: its socket path would be too long, or the disk says no. */
  createPackDirectory(): Promise<PackDirectory>;
  /** Removes the directory and all in it. Its containers must be gone already. Closing twice is fine. */
  close(): Promise<void>;
}

export interface PackDirectory {
  readonly path: string;
  /** Unique on this machine, short, fit for a container name. */
  readonly id: string;
  readonly controlSocket: string;
  readonly segmentsSocket: string;
  /** Removing twice is fine. */
  remove(): Promise<void>;
}

/**
 * Makes this program's directory and answers on its owner.sock until `close` or until the program ends.
 * The listener does not keep the program running. Raises ISOLATION_UNAVAILABLE.
 */
export async function createOwnerDirectory(runRoot: string): Promise<OwnerDirectory> {
  await openRunRoot(runRoot);
  const id = randomBytes(4).toString("hex");
  const path = join(runRoot, id);
  const socketPath = checkedSocketPath(join(path, ownerSocketName));
  await orUnusable(path, "made", mkdir(path, { mode: 0o700 }));
  const server = await orUnusable(socketPath, "listened on", answerOn(socketPath));
  let packCount = 0;
  return {
    path,
    id,
    user: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    createPackDirectory: () => {
      packCount += 1;
      return createPackDirectory(join(path, String(packCount)), `${id}-${packCount}`);
    },
    // owner.sock goes last: as long as it answers, a sweep leaves the directory alone.
    close: async () => {
      if (!server.listening) return;
      await removeAllBut(path, socketPath);
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await orUnusable(path, "removed", rmdir(path));
    },
  };
}

async function createPackDirectory(path: string, id: string): Promise<PackDirectory> {
  const controlSocket = checkedSocketPath(join(path, controlSocketName));
  const segmentsSocket = checkedSocketPath(join(path, segmentsSocketName));
  await orUnusable(path, "made", mkdir(path));
  await orUnusable(path, "opened to the container's user", chmod(path, 0o755)); // whatever the umask
  return {
    path,
    id,
    controlSocket,
    segmentsSocket,
    remove: () => orUnusable(path, "removed", rm(path, { recursive: true, force: true })),
  };
}

/** Gives `path` back. Raises ISOLATION_UNAVAILABLE when the kernel would not take it as a socket's. */
export function checkedSocketPath(path: string): string {
  const bytes = Buffer.byteLength(path);
  if (bytes <= maxSocketPathBytes) return path;
  throw new PyisolateError(
    "ISOLATION_UNAVAILABLE",
    `socket path ${path} has ${bytes} bytes, expected at most ${maxSocketPathBytes}`,
    { next: "Set XDG_RUNTIME_DIR to a directory with a shorter path." },
  );
}

function answerOn(socketPath: string): Promise<Server> {
  const server = createServer((connection) => connection.destroy());
  server.unref();
  return new Promise((resolve, reject) => {
    server.on("error", reject); // for good: a later failure to accept must not end this program
    server.listen(socketPath, () => resolve(server));
  });
}

/** Removes everything in `directory` but `kept`. */
async function removeAllBut(directory: string, kept: string): Promise<void> {
  for (const name of await orUnusable(directory, "read", readdir(directory))) {
    const path = join(directory, name);
    if (path !== kept) await orUnusable(path, "removed", rm(path, { recursive: true, force: true }));
  }
}

/** Raises ISOLATION_UNAVAILABLE when the file system refuses: "PATH cannot be DONE". */
export async function orUnusable<Result>(path: string, done: string, work: Promise<Result>): Promise<Result> {
  return work.catch((error: NodeJS.ErrnoException) => {
    throw new PyisolateError(
      "ISOLATION_UNAVAILABLE",
      `run directory: ${path} cannot be ${done} (${error.code ?? error.message})`,
      { next: "Look at its permissions and at the free space there, or set XDG_RUNTIME_DIR to another directory." },
      error,
    );
  });
}

function unusableRunRoot(runRoot: string, reason: string, cause?: unknown): PyisolateError {
  return new PyisolateError(
    "ISOLATION_UNAVAILABLE",
    `run directory ${runRoot} cannot be used: ${reason}`,
    { next: `Remove ${runRoot}, or set XDG_RUNTIME_DIR to a directory that only you can enter.` },
    cause,
  );
}

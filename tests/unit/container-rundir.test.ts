import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { connect, Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { checkedSocketPath, chooseRunRoot, createOwnerDirectory, openRunRoot } from "../../src/container/rundir.ts";

let scratch: string;
let runRoot: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "pyisolate-rundir-"));
  runRoot = join(scratch, "run");
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(scratch, { recursive: true });
});

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

test("the run root is XDG_RUNTIME_DIR's, else /run for root, else one of the user's own in /tmp", () => {
  expect(chooseRunRoot({ xdgRuntimeDir: "/run/user/1000", uid: 1000 })).toBe("/run/user/1000/pyisolate");
  expect(chooseRunRoot({ xdgRuntimeDir: undefined, uid: 0 })).toBe("/run/pyisolate");
  expect(chooseRunRoot({ xdgRuntimeDir: "", uid: 1000 })).toBe("/tmp/pyisolate-1000");
});

describe("run root", () => {
  test("is made with mode 0700 and taken again", async () => {
    await openRunRoot(runRoot);
    expect(modeOf(runRoot)).toBe("700");
    await openRunRoot(runRoot);
  });

  test("one that others can enter is refused", async () => {
    mkdirSync(runRoot);
    chmodSync(runRoot, 0o755);
    await expect(openRunRoot(runRoot)).rejects.toMatchObject({
      code: "ISOLATION_UNAVAILABLE",
      message: expect.stringContaining("expected mode 0700, got 0755"),
    });
  });

  test("a link is refused even when it leads to a good directory", async () => {
    mkdirSync(join(scratch, "good"), { mode: 0o700 });
    symlinkSync(join(scratch, "good"), runRoot);
    await expect(openRunRoot(runRoot)).rejects.toMatchObject({ code: "ISOLATION_UNAVAILABLE" });
  });

  test("one in a directory that is not there is refused with its path", async () => {
    await expect(openRunRoot(join(runRoot, "pyisolate"))).rejects.toMatchObject({
      code: "ISOLATION_UNAVAILABLE",
      message: expect.stringContaining(runRoot),
    });
  });
});

test("an owner answers on its socket until it closes, and leaves nothing", async () => {
  const owner = await createOwnerDirectory(runRoot);
  const pack = await owner.createPackDirectory();
  expect([modeOf(owner.path), modeOf(pack.path)]).toEqual(["700", "755"]);
  await new Promise<void>((resolve, reject) => {
    const socket = connect(join(owner.path, "owner.sock"), () => resolve(void socket.destroy()));
    socket.once("error", reject);
  });
  await owner.close();
  await owner.close();
  expect(existsSync(owner.path)).toBe(false);
  expect(readdirSync(runRoot)).toEqual([]);
});

test("connections that the owner's socket cannot accept do not end this program", async () => {
  const listen = vi.spyOn(Server.prototype, "listen");
  const owner = await createOwnerDirectory(runRoot);
  const server = listen.mock.contexts[0] as Server;
  for (const code of ["EMFILE", "EMFILE"]) server.emit("error", Object.assign(new Error(`accept ${code}`), { code }));
  await owner.close();
});

test("an owner's directory that somebody removed: our error, with a next step, from all that needs it", async () => {
  const owner = await createOwnerDirectory(runRoot);
  rmSync(owner.path, { recursive: true });
  const ours = { code: "ISOLATION_UNAVAILABLE", details: { next: expect.any(String) } };
  await expect(owner.createPackDirectory()).rejects.toMatchObject(ours);
  await expect(owner.close()).rejects.toMatchObject({ ...ours, message: expect.stringContaining(owner.path) });
});

test("pack directories of one owner differ and are removed one by one", async () => {
  const owner = await createOwnerDirectory(runRoot);
  const first = await owner.createPackDirectory();
  const second = await owner.createPackDirectory();
  expect(first.path).not.toBe(second.path);
  await first.remove();
  await first.remove();
  expect(readdirSync(owner.path).sort()).toEqual(["2", "owner.sock"]);
  await owner.close();
});

test("a socket path of 107 bytes is the longest; the error names its length", () => {
  expect(checkedSocketPath("/".padEnd(107, "a"))).toHaveLength(107);
  expect(() => checkedSocketPath("/".padEnd(108, "a"))).toThrow(/108 bytes, expected at most 107/);
});

test("a run root so deep that sockets would not fit is refused before anything is made in it", async () => {
  mkdirSync(join(scratch, "d".repeat(80)));
  const deep = join(scratch, "d".repeat(80), "run");
  await expect(createOwnerDirectory(deep)).rejects.toMatchObject({ code: "ISOLATION_UNAVAILABLE" });
  expect(readdirSync(deep)).toEqual([]);
});

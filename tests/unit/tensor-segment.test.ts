// Segments by descriptor, with a real process at the other end: what it can and cannot do to the memory.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { DescriptorSender } from "../../src/tensor/descriptors.ts";
import type { Native } from "../../src/tensor/native.ts";
import { MemorySegment, type SegmentUser } from "../../src/tensor/segment.ts";
import { needNative } from "./tensor-support.ts";

const NBYTES = 128 * 1024;
const receiver = fileURLToPath(new URL("./tensor-probe/receiver.py", import.meta.url));
const pack: SegmentUser = { name: "pack", heldBytes: 0, trustMemory: false, giveBack: () => {} };
const otherPack: SegmentUser = { name: "other", heldBytes: 0, trustMemory: false, giveBack: () => {} };

let native: Native;
const cleanUps: (() => unknown)[] = [];

beforeAll(async () => {
  native = await needNative();
});

afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
  for (const segment of made) close(segment);
});

/** Sends the segments, each as one that `user` gets, to a Python process; gives how to have it evaluate an expression. */
async function send(segments: readonly MemorySegment[], user: SegmentUser, uid = 0) {
  const directory = mkdtempSync(join(tmpdir(), "pyisolate-tensor-"));
  const server = createServer({ pauseOnConnect: true });
  const path = join(directory, "s");
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const connected = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const child: ChildProcess = spawn("python3", [receiver, path, String(segments.length), String(uid)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const sender = new DescriptorSender(native, await connected, () => {});
  cleanUps.push(() => {
    sender.close();
    server.close();
    child.kill();
    rmSync(directory, { recursive: true });
  });
  for (const [index, segment] of segments.entries()) {
    segment.lendDescriptor(user, (descriptor) => sender.send(7 + index, segment.nbytes, descriptor));
  }
  const answers = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
  return async (expression: string): Promise<unknown> => {
    child.stdin?.write(`${expression}\n`);
    const { value } = await answers.next();
    return JSON.parse(value);
  };
}

const made = new Set<MemorySegment>();

async function make(writer?: SegmentUser): Promise<MemorySegment> {
  const segment = await MemorySegment.make(native, NBYTES, writer, undefined);
  made.add(segment);
  return segment;
}

/** Once for each: its descriptor's number is somebody else's afterwards. */
function close(segment: MemorySegment): void {
  if (made.delete(segment)) segment.close();
}

test("a record goes with each descriptor: number, zero, bytes", async () => {
  const python = await send([await make(), await make()], pack);
  expect(await python("records")).toEqual(["07000000000000000000020000000000", "08000000000000000000020000000000"]);
});

describe("to a pack", () => {
  test("it sees what the host writes, before and after; its own writes stay its own", async () => {
    const segment = await make();
    segment.write(Uint8Array.of(1, 2, 3));
    const python = await send([segment], pack);
    expect(await python("kept.setdefault('m', private(fds[0]))[1]")).toBe(2);
    segment.write(Uint8Array.of(4, 5, 6));
    expect(await python("kept['m'][1]")).toBe(5);
    await python("put(kept['m'], 0, 99)");
    expect(segment.peek(0, 3)).toEqual(Uint8Array.of(4, 5, 6));
  });

  test.each([
    ["map it to write", "shared(fds[0])"],
    ["write", "os.write(fds[0], b'x')"],
    ["cut", "os.ftruncate(fds[0], 0)"],
    ["grow", "os.ftruncate(fds[0], 1 << 30)"],
    ["punch a hole", "punch(fds[0])"],
    ["add a seal", "seal(fds[0])"],
    ["open it again and map that to write", "shared(os.open(f'/proc/self/fd/{fds[0]}', os.O_RDWR))"],
  ])("it cannot %s", async (_name, expression) => {
    const segment = await make();
    segment.write(Uint8Array.of(1));
    const python = await send([segment], pack);
    expect(await python(expression)).toBe("PermissionError");
    expect(segment.peek(0, 1)).toEqual(Uint8Array.of(1));
  });
});

describe("from a pack", () => {
  test("the host sees what it writes, and a hole as zeros", async () => {
    const segment = await make(pack);
    const python = await send([segment], pack);
    await python("put(kept.setdefault('m', shared(fds[0])), 5, 77)");
    expect(segment.peek(5, 1)).toEqual(Uint8Array.of(77));
    await python("punch(fds[0])");
    expect(segment.peek(5, 1)).toEqual(Uint8Array.of(0));
  });

  test.each([
    ["cut", "os.ftruncate(fds[0], 0)"],
    ["grow", "os.ftruncate(fds[0], 1 << 30)"],
    ["add a seal", "seal(fds[0])"],
  ])("it cannot %s it", async (_name, expression) => {
    const segment = await make(pack);
    const python = await send([segment], pack);
    expect(await python(expression)).toBe("PermissionError");
  });

  test("another pack of the group reads it", async () => {
    const segment = await make(pack);
    const python = await send([segment], pack);
    const other = await send([segment], otherPack);
    await python("put(shared(fds[0]), 5, 77)");
    expect(await other("private(fds[0])[5]")).toBe(77);
  });

  test.each([
    ["map it to write", "shared(fds[0])", "PermissionError"],
    ["write", "os.write(fds[0], b'x')", "OSError"],
    ["cut", "os.ftruncate(fds[0], 0)", "OSError"],
    ["punch a hole", "punch(fds[0])", "OSError"],
  ])("another pack of the group cannot %s", async (_name, expression, error) => {
    const python = await send([await make(pack)], otherPack);
    expect(await python(expression)).toBe(error);
  });

  test.runIf(process.getuid?.() === 0)(
    "another pack of the group, of another uid, cannot open it again to write",
    async () => {
      const python = await send([await make(pack)], otherPack, 65534);
      expect(await python("reopen(fds[0])")).toBe("PermissionError");
    },
  );

  test("memory that the host has closed is given back, though the pack keeps it", async () => {
    const segment = await make(pack);
    const python = await send([segment], pack);
    await python("put(kept.setdefault('m', shared(fds[0])), 5, 77)");
    close(segment);
    while ((await python("os.fstat(fds[0]).st_blocks")) !== 0) {} // the test's own time limit is the end of it
    expect(await python("kept['m'][5]")).toBe(0);
  });
});

test("a call that the system refuses: SHARED_MEMORY_EXHAUSTED, with the call and the reason", async () => {
  await expect(native.allocate(-1, 4096)).rejects.toMatchObject({
    code: "SHARED_MEMORY_EXHAUSTED",
    message: "posix_fallocate for shared memory failed: EBADF",
  });
  expect(() => native.seal(-1, 1)).toThrowError(
    expect.objectContaining({ message: expect.stringMatching("fcntl.*EBADF") }),
  );
});

// The tar a build gets, and what of a pack's folder may go into it.

import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { extract, type Header } from "tar-stream";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ContextEntry, packContext } from "../../src/image/context.ts";
import { readPackSource } from "../../src/image/source.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "image-context-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function write(path: string, content: string | Buffer = ""): Promise<string> {
  const file = join(folder, path);
  await mkdir(join(file, ".."), { recursive: true });
  await writeFile(file, content);
  return file;
}

async function bytesOf(entries: readonly ContextEntry[]): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of packContext(entries)) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function headersOf(entries: readonly ContextEntry[]): Promise<Header[]> {
  const headers: Header[] = [];
  for await (const entry of packContext(entries).pipe(
    extract() as unknown as NodeJS.WritableStream,
  ) as unknown as AsyncIterable<{
    header: Header;
    resume(): void;
  }>) {
    headers.push(entry.header);
    entry.resume();
  }
  return headers;
}

async function pathsOf(): Promise<string[]> {
  return (await readPackSource(folder)).entries.map(({ path }) => path);
}

describe("the tar", () => {
  test("has the same bytes for the same content, whatever the times and modes of the files", async () => {
    const file = await write("a/b.py", "x = 1\n");
    await write("z.py", "");
    const before = createHash("sha256")
      .update(await bytesOf((await readPackSource(folder)).entries))
      .digest("hex");
    await utimes(file, new Date(1), new Date(2));
    await chmod(file, 0o600);
    const after = createHash("sha256")
      .update(await bytesOf((await readPackSource(folder)).entries))
      .digest("hex");
    expect(after).toBe(before);
  });

  test("is sorted, of time 0 and owner 0, with folders and two modes", async () => {
    await chmod(await write("run.sh", "#!/bin/sh\n"), 0o700);
    await write("a/b.py", "x = 1\n");
    const { entries } = await readPackSource(folder);
    const rows = (await headersOf([...entries, { type: "text", path: "extra/c", content: "é" }])).map((header) => [
      header.name.replace(/\/$/, ""),
      header.mode,
      header.size,
      header.mtime?.getTime(),
      header.uid,
      header.gid,
    ]);
    expect(rows).toEqual([
      ["a", 0o755, 0, 0, 0, 0],
      ["a/b.py", 0o644, 6, 0, 0, 0],
      ["extra", 0o755, 0, 0, 0, 0],
      ["extra/c", 0o644, 2, 0, 0, 0],
      ["run.sh", 0o755, 10, 0, 0, 0],
    ]);
  });

  test("carries large files whole", async () => {
    const content = Buffer.alloc(3 * 1024 ** 2 + 5, "pyisolate ");
    await write("model.bin", content);
    expect((await bytesOf((await readPackSource(folder)).entries)).includes(content)).toBe(true);
  });

  test.each([10, 3 * 1024 ** 2])("fails when a file of %d bytes changes after it was named", async (sizeBytes) => {
    await write("a.py", Buffer.alloc(sizeBytes, "a"));
    const { entries } = await readPackSource(folder);
    await write("a.py", Buffer.alloc(sizeBytes, "b"));
    await expect(bytesOf(entries)).rejects.toMatchObject({
      code: "SOURCE_INVALID",
      message: expect.stringContaining("a.py"),
    });
  });
});

describe("a pack's folder", () => {
  test("leaves out history, caches, environments, secrets and the manifest", async () => {
    for (const path of [
      ...[".git/config", "__pycache__/a.pyc", "sub/__pycache__/b.pyc", ".venv/bin/python", "node_modules/a/b.js"],
      ...[".env", ".env.local", "server.pem", "sub/private.KEY", "id_rsa", ".npmrc", "old.pyc"],
      ...["environment/pyvenv.cfg", "environment/lib/x.py", "manifest.yaml", "manifest.lock"],
    ]) {
      await write(path);
    }
    await write("nodes.py");
    await write("sub/manifest.yaml");
    await write("sub/environment.py");
    expect(await pathsOf()).toEqual(["nodes.py", "sub", "sub/environment.py", "sub/manifest.yaml"]);
  });

  test("keeps links inside it, as links", async () => {
    await write("data/a.txt");
    await symlink("../data/a.txt", join(folder, "data/b.txt"));
    const { entries } = await readPackSource(folder);
    expect(entries.at(-1)).toEqual({ type: "link", path: "data/b.txt", target: "../data/a.txt" });
  });

  test.each(["/etc/passwd", "../outside", "sub/../../outside"])("refuses a link to %s", async (target) => {
    await symlink(target, join(folder, "link"));
    await expect(readPackSource(folder)).rejects.toMatchObject({
      code: "SOURCE_INVALID",
      message: expect.stringContaining(`links to ${target}`),
    });
  });

  test("refuses a socket", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(folder, "s.sock"), resolve));
    try {
      await expect(readPackSource(folder)).rejects.toMatchObject({
        code: "SOURCE_INVALID",
        message: expect.stringContaining("s.sock is a socket"),
      });
    } finally {
      server.close();
    }
  });

  test("that does not exist is refused", async () => {
    await expect(readPackSource(join(folder, "none"))).rejects.toMatchObject({ code: "SOURCE_INVALID" });
  });
});

// The image chain on the real engine: what is built, what is not built again, and what an image must not hold.

import { randomUUID } from "node:crypto";
import { readdir, symlink, writeFile } from "node:fs/promises";
import Docker from "dockerode";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ContainerSpec, Engine } from "../../src/engine/engine.ts";
import { ensureImage } from "../../src/image/ensure.ts";
import { KIND, temporaryState } from "../../src/image/labels.ts";
import { ensureTools } from "../../src/image/tools.ts";
import type { ImageContext } from "../../src/image/work.ts";
import { type ImageBench, openImageBench, type TestPack, testSpec } from "./image-support.ts";
import { wheelOf } from "./wheel.ts";

const MiB = 1024 ** 2;
const sixHash = "4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274";

let bench: ImageBench;
beforeAll(async () => {
  bench = await openImageBench();
});
afterAll(() => bench.close());
beforeEach(() => {
  bench.events.length = 0;
});

interface Call {
  /** e.g. "images.inspect" */
  readonly name: string;
  readonly args: readonly unknown[];
  readonly result: Promise<unknown>;
}

/** The engine, with a list of the calls it got. */
function recorded(engine: Engine): { engine: Engine; calls: Call[] } {
  const calls: Call[] = [];
  const watch = <T extends object>(part: T, name: string): T =>
    new Proxy(part, {
      get: (target, key) => {
        const member = Reflect.get(target, key);
        if (typeof member !== "function") return member;
        return (...args: unknown[]) => {
          const result = member.apply(target, args);
          calls.push({ name: `${name}.${String(key)}`, args, result });
          return result;
        };
      },
    });
  const { images, containers, volumes } = engine;
  const watched = { images: watch(images, "images"), containers: watch(containers, "containers"), volumes };
  return { engine: { info: () => engine.info(), ...watched }, calls };
}

/** What the calls made and the engine still has: tags of builds, but for finished links, and containers. */
async function leftBy(calls: readonly Call[]): Promise<string[]> {
  const left: string[] = [];
  for (const { name, args, result } of calls) {
    if (name === "images.build") {
      const { reference } = args[1] as { reference: string };
      const isLink = await result.then(
        () => !reference.startsWith("pyisolate/lock:"),
        () => false,
      );
      if (!isLink && (await bench.engine.images.inspect(reference)) !== undefined) left.push(reference);
    }
    if (name === "containers.create") {
      const id = (await result) as string;
      if ((await bench.engine.containers.inspect(id)) !== undefined) left.push(id);
    }
  }
  return left;
}

/** "KIND image" and "KIND container" of what was labelled as removed again by its build. */
async function labelsOfTemporaries(calls: readonly Call[]): Promise<string[]> {
  return calls.flatMap(({ name, args }) => {
    const { labels } = (
      name === "images.build" ? args[1] : name === "containers.create" ? args[0] : {}
    ) as Partial<ContainerSpec>;
    if (labels === undefined || temporaryState(labels, Date.now()) !== "in use") return [];
    return [`${labels[KIND]} ${name === "images.build" ? "image" : "container"}`];
  });
}

/** A file of an image that is never started. */
async function readOut(image: string, path: string): Promise<Buffer> {
  const id = await bench.engine.containers.create(testSpec(image, ["none"]));
  try {
    return await bench.engine.containers.readFile(id, path);
  } finally {
    await bench.engine.containers.remove(id);
  }
}

/** Those of `paths` that the image has. */
async function filesOf(image: string, paths: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    paths.map((path) =>
      readOut(image, path).then(
        () => [path],
        () => [],
      ),
    ),
  );
  return found.flat();
}

async function run(image: string, code: string, changes: Partial<ContainerSpec> = {}): Promise<string> {
  const command = ["/opt/env/bin/python", "-c", code];
  const id = await bench.engine.containers.create(
    testSpec(image, command, { env: { PYTHONPATH: "/opt/pyisolate:/pack" }, ...changes }),
  );
  try {
    await bench.engine.containers.start(id);
    const { exitCode } = await bench.engine.containers.wait(id);
    return [...(await bench.engine.containers.logs(id, 50)), `exit ${exitCode}`].join("\n");
  } finally {
    await bench.engine.containers.remove(id);
  }
}

describe("a pack with numpy 1.26.4", () => {
  let pack: TestPack;
  beforeAll(async () => {
    pack = await bench.writePack("dependencies:\n  - numpy==1.26.4\n", {
      "nodes.py": "A = 1\n",
      "template.py": "{{ no code }}\n",
    });
  });

  test("is built, holds what it asked for, byte-compiled, and has a lock without addresses", async () => {
    const { engine, calls } = recorded(bench.engine);
    const image = await ensureImage(pack.request, { ...bench.context, engine });
    expect(calls.map(({ name }) => name)).toEqual(expect.arrayContaining(["images.build", "containers.create"]));
    expect(await leftBy(calls)).toEqual([]);
    expect(await labelsOfTemporaries(calls)).toEqual(["lock image", "lock container"]);
    expect(image.links.map(({ kind }) => kind)).toEqual(["base", "dependencies", "source", "runtime"]);
    expect(image.links.slice(-2).map(({ state }) => state)).toEqual(["built", "built"]);
    expect(image.lock).toMatch(/^numpy==1\.26\.4 \\\n {4}--hash=sha256:/m);
    expect(image.lock).not.toMatch(/https?:/);
    const code = [
      "import glob, numpy, nodes, pyisolate, os, stat",
      "print(numpy.__version__, nodes.A, os.path.dirname(pyisolate.__file__))",
      "print(os.path.exists(numpy.__cached__))",
      "print(nodes.__cached__ in glob.glob('/pack/__pycache__/*'), bool(glob.glob('/opt/pyisolate/pyisolate/__pycache__/*')))",
      "print(oct(stat.S_IMODE(os.stat('/data').st_mode)), os.access('/pack', os.W_OK), os.path.exists('/pack/manifest.yaml'))",
    ].join("\n");
    expect(await run(image.reference, code)).toBe(
      "1.26.4 1 /opt/pyisolate/pyisolate\nTrue\nTrue True\n0o1777 False False\nexit 0",
    );
  });

  test("asked for again only inspects", async () => {
    const first = await ensureImage(pack.request, bench.context);
    const { engine, calls } = recorded(bench.engine);
    const again = await ensureImage(pack.request, { ...bench.context, engine });
    expect(calls.map(({ name }) => name)).toEqual(["images.inspect", "images.inspect", "images.inspect"]);
    expect(again.reference).toBe(first.reference);
    expect(again.links.map(({ state }) => state)).toEqual(["cached", "cached", "cached", "cached"]);
  });

  test("is not built again for a new limit, but for a new source: two links, and no network", async () => {
    const before = await ensureImage(pack.request, bench.context);
    await pack.write("manifest.yaml", `${pack.request.manifest.name}: changed on disk only\n`);
    const manifest = { ...pack.request.manifest, maxPids: 3, timeoutMs: 1, network: "full" as const };
    expect((await ensureImage({ ...pack.request, manifest }, bench.context)).reference).toBe(before.reference);
    await pack.write("nodes.py", `A = "${randomUUID()}"\n`);
    const after = await ensureImage(pack.request, bench.context);
    expect(after.links.map(({ state }) => state)).toEqual(["cached", "cached", "built", "built"]);
  });

  test("wanted twice at the same time is built once", async () => {
    await pack.write("nodes.py", `A = "${randomUUID()}"\n`);
    const { engine, calls } = recorded(bench.engine);
    const context = { ...bench.context, engine };
    const [one, other] = await Promise.all([ensureImage(pack.request, context), ensureImage(pack.request, context)]);
    expect(one?.reference).toBe(other?.reference);
    expect(calls.filter(({ name }) => name === "images.build")).toHaveLength(2);
  });

  test("uses manifest.lock beside the manifest, if it fits", async () => {
    const { lock = "" } = await ensureImage(pack.request, bench.context);
    await pack.write("manifest.lock", lock);
    const { engine, calls } = recorded(bench.engine);
    const elsewhere = { ...bench.context, engine, storeDirectory: `${bench.context.storeDirectory}-none` };
    await ensureImage(pack.request, elsewhere);
    expect(calls.map(({ name }) => name)).not.toContain("images.build");
    const other = { ...pack.request, manifest: { ...pack.request.manifest, python: "3.13" as const } };
    await pack.write("manifest.lock", lock.replace(/# for: .*/, "# for: another"));
    await expect(ensureImage({ ...other, manifest: pack.request.manifest }, elsewhere)).rejects.toMatchObject({
      code: "DEPENDENCY_UNRESOLVED",
      message: expect.stringContaining("manifest.lock was not made for"),
    });
    await pack.write("manifest.lock", lock);
  });
});

describe("a lock of the pack's own", () => {
  test.each(["--no-binary :all:", "--index-url http://127.0.0.1:9/simple", "six==1.17.0"])(
    "with the line %s is refused before anything is built",
    async (line) => {
      const pack = await bench.writePack("dependencies:\n  - iniconfig\n");
      const { lock = "" } = await ensureImage(pack.request, bench.context);
      await pack.write("manifest.lock", `${lock}${line}\n`);
      const { engine, calls } = recorded(bench.engine);
      await expect(ensureImage(pack.request, { ...bench.context, engine })).rejects.toMatchObject({
        code: "DEPENDENCY_UNRESOLVED",
        message: expect.stringContaining(`${pack.directory}/manifest.lock:${lock.split("\n").length}: "${line}"`),
      });
      expect(calls.filter(({ name }) => name !== "images.inspect")).toEqual([]);
    },
  );
});

test("markers, extras and a URL are locked in a form that can be read back", async () => {
  const marked = ['six==1.17.0 ; python_version >= "3.8"', "requests[socks]", 'tomli ; python_version < "3.0"'];
  const pack = await bench.writePack(`dependencies:\n${marked.map((line) => `  - '${line}'\n`).join("")}`);
  const { reference } = await ensureImage(pack.request, bench.context);
  expect(await run(reference, "import requests, six, socks; print(six.__version__)")).toBe("1.17.0\nexit 0");
});

describe("code of a wheel", () => {
  const markers = ["/opt/marker", "/tmp/marker"];
  /** Python code that tells what it sees of a build step, to stdout and wherever it may write. Needs no module. */
  const spy = [
    "import posix",
    "told = ('ran, saw ' + (posix.listdir('/run/build').__repr__() if 'build' in posix.listdir('/run') else 'nothing') + chr(10)).encode()",
    `[0 for file in ${JSON.stringify(markers)} if posix.access(file[:4], 2) and posix.write(posix.open(file, 65), told)]`,
    "posix.write(1, told)",
  ].join("; ");

  test("in a .pth file runs in no build step, and in a container as ever", async () => {
    const pack = await bench.writePack("dependencies:\n  - ./wheels/evil-1.0-py3-none-any.whl\n", {
      "wheels/evil-1.0-py3-none-any.whl": wheelOf("evil", {
        "evil.pth": `import builtins; exec(${JSON.stringify(spy)}, {})\n`,
        "evil.py": "A = 1\n",
      }),
    });
    const { reference } = await ensureImage(pack.request, bench.context);
    expect(await filesOf(reference, markers)).toEqual([]);
    const tmpfs = [{ target: "/tmp", sizeBytes: MiB, mode: "1777", exec: false }];
    const code = "import evil, os; print(os.path.exists(evil.__cached__), os.path.exists('/tmp/marker'))";
    expect(await run(reference, code, { tmpfs })).toMatch(/^(ran, saw .*\n)+True True\nexit 0$/);
  });

  test("in place of the standard library runs in no build step either", async () => {
    const other = "fake-1.0.data/data/other/lib/python3.11";
    const pack = await bench.writePack("dependencies:\n  - ./wheels/fake-1.0-py3-none-any.whl\n", {
      "wheels/fake-1.0-py3-none-any.whl": wheelOf("fake", {
        "fake-1.0.data/data/pyvenv.cfg": "home = /opt/env/other/bin\n",
        [`${other}/os.py`]: "",
        [`${other}/encodings/__init__.py`]: `${spy}\n`,
      }),
    });
    const { reference } = await ensureImage(pack.request, bench.context);
    expect(await filesOf(reference, markers)).toEqual([]);
    expect(await run(reference, "")).toMatch(/ran, saw /);
  });
});

describe("max_image", () => {
  test("is held against the unpacked size, and names the line", async () => {
    const pack = await bench.writePack("max_image: 50MB\n");
    const { engine, calls } = recorded(bench.engine);
    const refused = {
      code: "IMAGE_TOO_LARGE",
      message: expect.stringMatching(/manifest\.yaml:3:\d+: .* is \d+\.\d+MB unpacked, .* 50MB$/),
    };
    await expect(ensureImage(pack.request, { ...bench.context, engine })).rejects.toMatchObject(refused);
    await expect(ensureImage(pack.request, { ...bench.context, engine })).rejects.toMatchObject(refused);
    expect(calls.filter(({ name }) => name === "images.build")).toHaveLength(2);
  });
});

describe("the store", () => {
  test("need not be writable: the build goes on, with a note", async () => {
    const pack = await bench.writePack("dependencies:\n  - iniconfig\n");
    await ensureImage(pack.request, { ...bench.context, storeDirectory: `${pack.directory}/manifest.yaml` });
    expect(bench.events).toContainEqual({
      type: "note",
      link: "lock",
      text: expect.stringContaining(`the lock could not be kept in ${pack.directory}/manifest.yaml`),
    });
  });

  test("may hold a damaged lock: it is made again", async () => {
    const pack = await bench.writePack("dependencies:\n  - iniconfig\n");
    const context = { ...bench.context, storeDirectory: `${bench.context.storeDirectory}-damaged` };
    const first = await ensureImage(pack.request, context);
    const [file = ""] = await readdir(`${context.storeDirectory}/locks`);
    await writeFile(`${context.storeDirectory}/locks/${file}`, (first.lock ?? "").slice(0, -70));
    expect((await ensureImage(pack.request, context)).lock).toBe(first.lock);
  });
});

describe("nothing is left behind by", () => {
  test.each([
    ["numpy==99.0", /manifest\.yaml:5:5: No solution found .*numpy==99\.0.*unsatisfiable/],
    ["no-such-package-of-ours-at-all", /manifest\.yaml:5:5: .*not found/],
  ])("a dependency that cannot be resolved (%s)", async (requirement, message) => {
    const pack = await bench.writePack(`dependencies:\n  - pillow\n  - ${requirement}\n`);
    const { engine, calls } = recorded(bench.engine);
    const failed = ensureImage(pack.request, { ...bench.context, engine });
    await expect(failed).rejects.toMatchObject({
      code: "DEPENDENCY_UNRESOLVED",
      message: expect.stringMatching(message),
    });
    expect(await leftBy(calls)).toEqual([]);
    expect(await bench.engine.images.list({ "pyisolate.pack": pack.name })).toEqual([]);
  });

  test.each([
    [
      "broken-1.0-py3-none-any.whl",
      /manifest\.yaml:5:5: Failed to read `broken @ broken-1\.0-py3-none-any\.whl`: .*zip/,
    ],
    ["nameless.whl", /manifest\.yaml:5:5: The wheel filename `nameless\.whl` is invalid/],
  ])("a wheel that is none (%s)", async (name, message) => {
    const pack = await bench.writePack(`dependencies:\n  - iniconfig\n  - ./wheels/${name}\n`, {
      [`wheels/${name}`]: "no zip",
    });
    const { engine, calls } = recorded(bench.engine);
    await expect(ensureImage(pack.request, { ...bench.context, engine })).rejects.toMatchObject({
      code: "DEPENDENCY_UNRESOLVED",
      message: expect.stringMatching(message),
      details: { at: { line: 5, column: 5 }, next: expect.stringContaining("replace") },
    });
    expect(await leftBy(calls)).toEqual([]);
  });

  test("a package that cannot be installed", async () => {
    const pack = await bench.writePack("dependencies:\n  - six==1.17.0\n");
    const { lock = "" } = await ensureImage(pack.request, bench.context);
    // A lock of the pack's own, with a hash that no file has.
    await pack.write(
      "manifest.lock",
      lock.replaceAll(/sha256:.{64}/g, `sha256:${randomUUID().replaceAll("-", "").repeat(2)}`),
    );
    const { engine, calls } = recorded(bench.engine);
    await expect(ensureImage(pack.request, { ...bench.context, engine })).rejects.toMatchObject({
      code: "DEPENDENCY_UNRESOLVED",
      message: expect.stringMatching(/manifest\.yaml:4:5: .*six==1\.17\.0.*Hash mismatch/),
    });
    expect(await leftBy(calls)).toEqual([]);
  });

  test("a build that is aborted", async () => {
    const pack = await bench.writePack("", { "nodes.py": `A = "${randomUUID()}"\n` });
    const abort = new AbortController();
    const context: ImageContext = {
      ...bench.context,
      signal: abort.signal,
      onProgress: (event) => event.type === "started" && event.link === "source" && abort.abort(new Error("enough")),
    };
    await expect(ensureImage(pack.request, context)).rejects.toMatchObject({
      code: "CALL_CANCELLED",
      message: `building the image of pack "${pack.name}" was cancelled`,
      cause: new Error("enough"),
    });
    expect(await bench.engine.images.list({ "pyisolate.pack": pack.name })).toEqual([]);
  });

  test("a folder that cannot be copied", async () => {
    const pack = await bench.writePack("");
    await symlink("/etc/passwd", `${pack.directory}/link`);
    await expect(ensureImage(pack.request, bench.context)).rejects.toMatchObject({ code: "SOURCE_INVALID" });
    expect(await bench.engine.images.list({ "pyisolate.pack": pack.name })).toEqual([]);
  });
});

describe("the host's", () => {
  test("authorities reach a build, and no layer, label or history of the image", async () => {
    const secret = `marker-${randomUUID()}`;
    const host = { ...bench.context.host, caBundle: `${bench.context.host.caBundle ?? ""}\n# ${secret}\n` };
    const pack = await bench.writePack("dependencies:\n  - iniconfig\n");
    const { lock = "" } = await ensureImage(pack.request, { ...bench.context, host });
    // A lock that nobody has used makes a dependencies link that nobody has built.
    const marker = `platform_release != "${randomUUID()}"`;
    await pack.write("manifest.lock", `${lock}six==1.17.0 ; ${marker} \\\n    --hash=sha256:${sixHash}\n`);
    const image = await ensureImage(pack.request, { ...bench.context, host });
    expect(image.links.find(({ kind }) => kind === "dependencies")?.state).toBe("built");
    expect(await run(image.reference, "import iniconfig, six; print(six.__version__)")).toBe("1.17.0\nexit 0");
    expect(await savedBytesWith(image.reference, [secret, pack.name])).toEqual([pack.name]);
  });

  test("passwords reach no error, no progress and no label", async () => {
    const secret = `secret-${randomUUID()}`;
    const host = { ...bench.context.host, defaultIndex: `http://user:${secret}@127.0.0.1:9/simple` };
    const pack = await bench.writePack(`dependencies:\n  - no-such-package-${randomUUID()}\n`);
    const error = await ensureImage(pack.request, { ...bench.context, host }).catch((failure) => failure);
    expect(error.code).toBe("IMAGE_BUILD_FAILED");
    expect(error.details.logTail.join("\n")).toContain("127.0.0.1:9");
    expect(JSON.stringify([error.message, error.details, String(error.cause), bench.events])).not.toContain(secret);
  });
});

test("a uv image that the engine has, or can pull, is used as it is", async () => {
  const { uv } = await ensureTools(bench.context, "lock");
  const settings = { ...bench.context.settings, uvImage: uv };
  bench.events.length = 0;
  const other = await ensureTools({ ...bench.context, settings }, "lock");
  try {
    expect(other.uv).not.toBe(uv);
    expect(bench.events.filter(({ type }) => type === "note")).toEqual([]);
    expect((await bench.engine.images.inspect(other.uv))?.labels["pyisolate.kind"]).toBe("uv");
  } finally {
    await bench.engine.images.remove(other.uv);
  }
});

test("a requirement cannot become a word of a shell or an option", async () => {
  const pack = await bench.writePack("dependencies:\n  - numpy\n");
  const hostile = "numpy; $(touch /tmp/owned) `id` --index-url http://127.0.0.1:9";
  const dependencies = pack.request.manifest.dependencies.map((entry) => ({ ...entry, requirement: hostile }));
  const manifest = { ...pack.request.manifest, dependencies };
  await expect(ensureImage({ ...pack.request, manifest }, bench.context)).rejects.toMatchObject({
    code: "DEPENDENCY_UNRESOLVED",
    message: expect.stringContaining("$(touch /tmp/owned)"),
  });
});

/** Those of `texts` that the image as `docker save` writes it (layers, configuration, history) has anywhere. */
async function savedBytesWith(reference: string, texts: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  let tail = Buffer.alloc(0);
  for await (const chunk of await new Docker().getImage(reference).get()) {
    const bytes = Buffer.concat([tail, chunk as Buffer]);
    for (const text of texts) if (bytes.includes(text)) found.add(text);
    tail = bytes.subarray(-100);
  }
  return [...found];
}

// Bad input, and what it gets: one error with a code and a next step, at once, and nothing left behind.

import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type ErrorCode, isPyisolateError, type PyisolateError } from "../../src/errors.ts";
import type { Extension } from "../../src/index.ts";
import { Place, packsDirectory, photograph } from "./harness.ts";

let place: Place;
beforeAll(async () => {
  place = await Place.make();
});
afterAll(() => place[Symbol.asyncDispose]());

/** The error that `work` must end with, whose code must be `code`; every error has a next step. */
async function errorOf(code: ErrorCode, work: Promise<unknown>): Promise<PyisolateError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isPyisolateError(error)) throw new Error(`expected ${code}, got ${String(error)}`, { cause: error });
  expect(error.code, error.message).toBe(code);
  expect(error.details.next, "a next step").toBeTruthy();
  return error;
}

async function packWith(name: string, manifest: string, code = "NODE_CLASS_MAPPINGS = {}\n"): Promise<string> {
  const directory = join(place.directory, name);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "manifest.yaml"), manifest);
  await writeFile(join(directory, "__init__.py"), code);
  return directory;
}

describe("before anything runs", () => {
  afterEach(async () => expect(await place.leftovers()).toEqual([]));

  test("a misspelt key is named with its line, column and the nearest key", async () => {
    const directory = await packWith("misspelt", "name: a\nversion: 1.0.0\nmax_memry: 1GB\n");
    const error = await errorOf("MANIFEST_INVALID", place.manager().loadExtension(directory));
    expect(error.message).toContain("manifest.yaml:3:1:");
    expect(error.message).toContain("max_memry");
    expect(error.message).toContain("max_memory");
  });

  test("an impossible version is shown with its line", async () => {
    const directory = await packWith("impossible", "name: a\nversion: 1.0.0\ndependencies:\n  - numpy==banana!\n");
    const error = await errorOf("MANIFEST_INVALID", place.manager().loadExtension(directory));
    expect(error.message).toContain("manifest.yaml:4:5:");
    expect(error.message).toContain("numpy==banana!");
  });

  test("a folder without a manifest, and no folder at all", async () => {
    expect((await errorOf("MANIFEST_NOT_FOUND", place.manager().loadExtension("/nowhere"))).message).toContain(
      "/nowhere",
    );
    const error = await errorOf("MANIFEST_NOT_FOUND", place.manager().loadExtension(place.directory));
    expect(error.message).toContain("has no manifest.yaml");
  });

  test("dependencies that exclude each other give uv's reason and the manifest's line", async () => {
    const halfMade = async () =>
      (await place.engine.images.list({ "pyisolate.kind": "lock" })).flatMap(({ tags }) => tags);
    const before = await halfMade();
    const work = place.manager().loadExtension(join(packsDirectory, "unresolvable"));
    const error = await errorOf("DEPENDENCY_UNRESOLVED", work);
    expect(error.message).toMatch(/manifest\.yaml:[45]:5/);
    expect(error.message).toMatch(/numpy/);
    expect(error.message).toMatch(/unsatisfiable/);
    // Other test files resolve locks at the same time: what they make goes away by itself, what we left would stay.
    const after = (await halfMade()).filter((tag) => !before.includes(tag));
    const remaining = async () => (await halfMade()).filter((tag) => after.includes(tag));
    await expect.poll(remaining, { timeout: 20_000, interval: 250 }).toEqual([]);
  });

  test("no engine on the socket", async () => {
    const { exit, stderr } = await place.pyisolate(["build", join(packsDirectory, "trouble")], {
      env: { DOCKER_HOST: "unix:///nowhere/docker.sock" },
    });
    expect(stderr).toContain("ENGINE_UNAVAILABLE");
    expect(stderr).toContain("/nowhere/docker.sock");
    expect(exit).toBe(4);
  });
});

describe("a pack that does not come up", () => {
  afterEach(async () => expect(await place.leftovers()).toEqual([]));

  test("its import raises: the traceback at once", async () => {
    await using manager = place.manager();
    const error = await errorOf("PACK_LOAD_FAILED", manager.loadExtension(join(packsDirectory, "import_raises")));
    expect(error.message).toContain("package_nobody_has");
    expect(error.details.next).toContain("dependencies");
    expect(error.details.remote?.type).toBe("ModuleNotFoundError");
    expect(error.details.remote?.traceback).toContain("__init__.py");
  });

  test("it exits while it is imported: exit code and last lines at once", async () => {
    await using manager = place.manager();
    const error = await errorOf("PACK_START_FAILED", manager.loadExtension(join(packsDirectory, "exits_on_import")));
    expect(error.message).toContain("42");
    expect(error.details.logTail?.join("\n")).toContain("farewell from the pack");
  });

  test("a pack whose import never ends is given up after the load's time limit", async () => {
    const directory = await packWith("hangs", "name: hangs\nversion: 1.0.0\n", "import time\ntime.sleep(600)\n");
    await using manager = place.manager();
    const error = await errorOf("PACK_START_TIMEOUT", manager.loadExtension(directory, { loadTimeoutMs: 500 }));
    expect(error.message).toContain("hangs");
  });
});

describe("a running pack", () => {
  const trouble = join(packsDirectory, "trouble");

  /** Loads the pack for one test and stops it, then looks for leftovers. */
  async function withTrouble(use: (extension: Extension) => Promise<void>): Promise<void> {
    {
      await using manager = place.manager();
      await use(await manager.loadExtension(trouble));
    }
    expect(await place.leftovers()).toEqual([]);
  }

  test("a node that raises: its type, message and traceback; the pack lives on", async () => {
    await withTrouble(async (extension) => {
      const error = await errorOf("NODE_FAILED", extension.executeNode("Raise", { text: "äöü" }));
      expect(error.message).toContain("äöü");
      expect(error.details.remote).toMatchObject({ type: "ValueError", message: "äöü" });
      expect(error.details.remote?.traceback).toContain("raise ValueError(text)");
      expect(error.details.remote?.traceback).not.toContain("/opt/pyisolate");
      expect((await extension.executeNode("Echo", {})).outputs).toEqual([0, 0, false, "", "first"]);
    });
  });

  test("an unknown node is refused with the nearest id", async () => {
    await withTrouble(async (extension) => {
      expect((await errorOf("NODE_UNKNOWN", extension.executeNode("Ecko"))).message).toContain('"Echo"');
    });
  });

  test("missing, undeclared and wrongly typed inputs are refused before anything is sent", async () => {
    await withTrouble(async (extension) => {
      expect((await errorOf("INPUT_MISSING", extension.executeNode("Picture"))).message).toContain('"image" (IMAGE)');
      expect((await errorOf("INPUT_INVALID", extension.executeNode("Echo", { txt: "a" }))).message).toContain('"text"');
      const nothing = null as unknown as Record<string, never>;
      expect((await errorOf("INPUT_INVALID", extension.executeNode("Echo", nothing))).message).toContain("got null");
      const wrong: [string, unknown, string][] = [
        ["integer", 1.5, "an integer"],
        ["integer", "1", "an integer"],
        ["number", "0.5", "a number"],
        ["number", 1e31, "FLOAT of at most"],
        ["flag", 1, "true or false"],
        ["text", 5, "text"],
        ["choice", "third", 'one of "first", "second"'],
      ];
      for (const [name, value, expected] of wrong) {
        const error = await errorOf("INPUT_INVALID", extension.executeNode("Echo", { [name]: value as string }));
        expect(error.message).toContain(`input "${name}" of node "Echo" expects ${expected}`);
      }
      expect((await errorOf("INPUT_INVALID", extension.executeNode("Picture", { image: 5 }))).message).toContain(
        "tensor",
      );
    });
  });

  test("it exits in the middle of a call: a typed error at once, and the next call says so", async () => {
    await withTrouble(async (extension) => {
      const other = errorOf("PACK_DIED", extension.executeNode("SleepAsync", { seconds: 60 }));
      const error = await errorOf("PACK_DIED", extension.executeNode("Exit"));
      expect(error.message).toContain("7");
      expect(error.message).toContain("Exit");
      expect(error.details.logTail?.join("\n")).toContain("last words");
      await other;
      expect((await errorOf("PACK_DIED", extension.executeNode("Echo"))).message).toContain("7");
    });
  });

  test("it is killed by a signal in the middle of a call", async () => {
    await withTrouble(async (extension) => {
      expect((await errorOf("PACK_DIED", extension.executeNode("KillItself"))).message).toContain("SIGKILL");
    });
  });

  test("it is killed for memory in the middle of a call, and the error names the limit", async () => {
    await withTrouble(async (extension) => {
      const error = await errorOf("PACK_OUT_OF_MEMORY", extension.executeNode("EatMemory"));
      expect(error.message).toContain("128");
      expect(error.message).toContain("max_memory");
      await errorOf("PACK_OUT_OF_MEMORY", extension.executeNode("Echo"));
    });
  });

  test("a time limit and a cancelled call end the call and nothing else", async () => {
    await withTrouble(async (extension) => {
      for (const node of ["Sleep", "SleepAsync"]) {
        const error = await errorOf("CALL_TIMEOUT", extension.executeNode(node, {}, { timeoutMs: 200 }));
        expect(error.message).toContain(node);
        const abort = new AbortController();
        const cancelled = errorOf("CALL_CANCELLED", extension.executeNode(node, {}, { signal: abort.signal }));
        abort.abort();
        await cancelled;
      }
      for (const timeoutMs of [Number.NaN, 0, -1]) {
        await errorOf("USAGE", extension.executeNode("Echo", {}, { timeoutMs }));
      }
      for (const timeoutMs of [Number.POSITIVE_INFINITY, 1e25]) await extension.executeNode("Echo", {}, { timeoutMs });
      expect((await extension.executeNode("Echo", { text: "still here" })).outputs[3]).toBe("still here");
    });
  });

  test("a stopped pack says so", async () => {
    await withTrouble(async (extension) => {
      const running = errorOf("PACK_STOPPED", extension.executeNode("Sleep"));
      await extension.stop();
      await running;
      await errorOf("PACK_STOPPED", extension.executeNode("Echo"));
    });
  });
});

describe("on the command line", () => {
  afterEach(async () => expect(await place.leftovers()).toEqual([]));

  test("a photograph that is not one", async () => {
    const file = join(place.directory, "not-a-photo.jpg");
    await copyFile(join(packsDirectory, "trouble/manifest.yaml"), file);
    const { exit, stderr } = await place.pyisolate([
      "run",
      join(packsDirectory, "trouble"),
      "Picture",
      "--input",
      `image=${file}`,
    ]);
    expect(stderr).toContain("PICTURE_INVALID");
    expect(stderr).toContain(file);
    expect(exit).toBe(7);
  });

  test("an input that does not fit, an unknown one, and one without a name", async () => {
    const runEcho = (word: string) =>
      place.pyisolate(["run", join(packsDirectory, "trouble"), "Echo", "--input", word]);
    const wrong = await runEcho("integer=many");
    expect(wrong.stderr).toContain('input "integer" of node "Echo" expects an integer such as 42 (INT), got "many"');
    expect(wrong.exit).toBe(7);
    expect((await runEcho("intger=5")).stderr).toContain('the nearest known input is "integer"');
    expect((await runEcho("5")).exit).toBe(2);
  });

  test("a node that raises shows its traceback and ends with status 8", async () => {
    const { exit, stderr, stdout } = await place.pyisolate(["run", join(packsDirectory, "trouble"), "Raise", "--json"]);
    expect(stderr).toContain("ValueError: as asked");
    expect(stdout).toBe("");
    expect(exit).toBe(8);
  });

  test("Ctrl-C ends the command, its container and its sockets", async () => {
    const args = ["run", join(packsDirectory, "trouble"), "Sleep", "--input", "seconds=600"];
    const command = place.start(args);
    await place.untilContainerRuns();
    command.kill("SIGINT");
    const { exitCode, stderr } = await command;
    expect(stderr).toContain("SIGINT");
    expect(exitCode).toBe(130);
  });

  test("a closed terminal ends the command as Ctrl-C does", async () => {
    const command = place.start(["run", join(packsDirectory, "trouble"), "Sleep", "--input", "seconds=600"]);
    await place.untilContainerRuns();
    command.kill("SIGHUP");
    expect((await command).exitCode).toBe(129);
  });

  test("an --output that cannot be written is refused before anything runs", async () => {
    const run = (...files: string[]) =>
      place.pyisolate(["run", "/nowhere", "Node", ...files.flatMap((file) => ["--output", file])]);
    expect((await run("missing/a.png")).stderr).toContain("there is no folder");
    expect((await run("a.png", "./a.png")).stderr).toContain("given twice");
    expect((await run("a.exe")).exit).toBe(2);
  });

  test("what a killed command leaves is removed by the next one", async () => {
    const command = place.start(["run", join(packsDirectory, "trouble"), "Sleep", "--input", "seconds=600"]);
    await place.untilContainerRuns();
    command.kill("SIGKILL");
    await command;
    expect(await place.leftovers()).not.toEqual([]);
    expect(await place.pyisolate(["run", join(packsDirectory, "trouble"), "Echo"])).toMatchObject({ exit: 0 });
  });

  test("a node's escape sequences do not reach the terminal", async () => {
    const args = ["run", join(packsDirectory, "trouble"), "Raise", "--input", "text=\u001b]0;owned\u0007"];
    const { stderr } = await place.pyisolate(args);
    expect(stderr).toContain("\\u001b]0;owned\\u0007");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they must not be there
    expect(stderr).not.toMatch(/[\u0000-\u0008\u000b-\u001f]/);
  });

  test("check tells a valid manifest from an invalid one without an engine", async () => {
    const env = { DOCKER_HOST: "unix:///nowhere/docker.sock" };
    expect(await place.pyisolate(["check", join(packsDirectory, "trouble")], { env })).toMatchObject({ exit: 0 });
    const bad = await packWith("bad", "name: bad\nversion: 1.0.0\nmax_memory: 8 gigs\n");
    const { exit, stderr } = await place.pyisolate(["check", bad], { env });
    expect(stderr).toContain("manifest.yaml:3:13");
    expect(stderr).toContain("8 gigs");
    expect(exit).toBe(3);
  });

  test("a second photograph that exists is run through", async () => {
    const args = ["run", join(packsDirectory, "trouble"), "Picture", "--json", "--input", `image=${photograph}`];
    const { exit, stdout } = await place.pyisolate(args);
    expect(JSON.parse(stdout)).toMatchObject({
      node: "Picture",
      outputs: ["(1, 512, 512, 3)"],
      bytesCopied: 512 * 512 * 3 * 4,
    });
    expect(exit).toBe(0);
  });
});

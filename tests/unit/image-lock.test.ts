// Requirements, locks and uv's refusals, as text.

import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PyisolateError } from "../../src/errors.ts";
import { parseLock, requestDigest, writeLockText } from "../../src/image/lock-text.ts";
import { formatPins, parsePins } from "../../src/image/pins.ts";
import { packageName, readRequirements } from "../../src/image/requirements.ts";
import { explainUnresolved } from "../../src/image/unresolved.ts";
import { readRequirement } from "../../src/manifest/requirement.ts";
import { readSchemas, writeSchemas } from "../../src/store/schemas.ts";
import { testManifest } from "./container-manifest.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "image-lock-"));
  await mkdir(join(folder, "wheels"));
  await writeFile(join(folder, "wheels/my_lib-1.0-py3-none-any.whl"), "wheel");
});
afterAll(() => rm(folder, { recursive: true }));

function manifestOf(...requirements: string[]) {
  return testManifest({
    dependencies: requirements.map((requirement, index) => {
      const shape = readRequirement(requirement);
      if ("problem" in shape) throw new Error(shape.problem);
      return { requirement, ...shape, at: { line: 4 + index, column: 5 } };
    }),
  });
}

describe("requirements", () => {
  test("a wheel of the pack's folder travels by name and content", async () => {
    const { entries, wheels } = await readRequirements(
      manifestOf("./wheels/my_lib-1.0-py3-none-any.whl"),
      folder,
      "torch",
    );
    expect(entries.map(({ line }) => line)).toEqual(["./wheels/my_lib-1.0-py3-none-any.whl"]);
    expect(wheels).toMatchObject([{ name: "my_lib-1.0-py3-none-any.whl", sizeBytes: 5 }]);
  });

  test.each([
    ["./wheels/missing.whl", "SOURCE_INVALID", "no file"],
    ["./lib", "SOURCE_INVALID", "not a wheel"],
    ["git+https://host.example/a.git@v1", "DEPENDENCY_UNRESOLVED", "version control"],
    ["a @ git+https://host.example/a.git", "DEPENDENCY_UNRESOLVED", "version control"],
  ])("%s is refused, with its line", async (requirement, code, message) => {
    await expect(readRequirements(manifestOf("numpy", requirement), folder, "torch")).rejects.toMatchObject({
      code,
      message: expect.stringMatching(new RegExp(`^pack/manifest.yaml:5:5: .*${message}`)),
    });
  });

  test.each([
    ["./.venv/a.whl", "\\.venv"],
    ["./.ssh/a.whl", "\\.ssh"],
    ["./environment/a.whl", "the environment environment"],
    ["./linked/a.whl", "the link linked"],
    ["./link.whl", "the link link.whl"],
  ])("%s is refused, though the file is there", async (requirement, through) => {
    for (const name of [".venv", ".ssh", "environment"]) {
      await mkdir(join(folder, name), { recursive: true });
      await writeFile(join(folder, name, "a.whl"), "wheel");
    }
    await writeFile(join(folder, "environment/pyvenv.cfg"), "");
    await symlink("wheels", join(folder, "linked")).catch(() => undefined);
    await symlink("/etc/hostname", join(folder, "link.whl")).catch(() => undefined);
    await expect(readRequirements(manifestOf(requirement), folder, "torch")).rejects.toMatchObject({
      code: "SOURCE_INVALID",
      message: expect.stringMatching(new RegExp(`^pack/manifest.yaml:4:5: .*through ${through}`)),
    });
  });

  test("share_torch adds torch unless the pack asks for one itself", async () => {
    const shared = { ...manifestOf("numpy"), shareTorch: true };
    const own = { ...manifestOf("Torch>=2.3"), shareTorch: true };
    const linesOf = async (manifest: typeof own) =>
      (await readRequirements(manifest, folder, "torch==2.13.0")).entries.map(({ line }) => line);
    expect(await linesOf(shared)).toEqual(["numpy", "torch==2.13.0"]);
    expect(await linesOf(own)).toEqual(["Torch>=2.3"]);
  });

  test.each([
    ["NumPy==1.26.4", "numpy"],
    ["custom_library[extra] >= 1", "custom-library"],
    ["./wheels/my_lib-1.0-py3-none-any.whl", "my-lib"],
    ["a.b @ https://host.example/x.whl", "a-b"],
  ])("%s names the package %s", (line, name) => {
    expect(packageName(line)).toBe(name);
  });
});

describe("a lock", () => {
  const requirements = { entries: [{ line: "numpy<2", at: undefined }], wheels: [] };
  const request = { python: "3.11", architecture: "x64", wheelsOnly: true, requirements } as const;
  const pin = `numpy==1.26.4 \\\n    --hash=sha256:${"0".repeat(64)}`;
  const text = writeLockText(request, `${pin}\n`);

  test("fits what it was made for", () => {
    expect(parseLock(text, request, "a lock")?.body).toBe(pin);
    expect(parseLock(text.replaceAll("\n", "\r\n"), request, "a lock")?.body).toBe(pin);
  });

  test.each([
    ["another Python", { ...request, python: "3.12" as const }],
    ["another architecture", { ...request, architecture: "arm64" }],
    ["sources allowed", { ...request, wheelsOnly: false }],
    [
      "other requirements",
      { ...request, requirements: { ...requirements, entries: [{ line: "numpy", at: undefined }] } },
    ],
  ])("does not fit %s", (_what, other) => {
    expect(parseLock(text, other, "a lock")).toBeUndefined();
    expect(requestDigest(other)).not.toBe(requestDigest(request));
  });

  test("a requirements file of another origin is no lock", () => {
    expect(parseLock("numpy==1.26.4\n", request, "a lock")).toBeUndefined();
  });
});

describe("the pins of a lock", () => {
  const url = "https://host.example/a-1.0-py3-none-any.whl";
  const wheel = { name: "my_lib-1.0-py3-none-any.whl", source: "", sizeBytes: 0, digest: "" };
  const asked = { entries: [{ line: `a @ ${url} ; python_version > "3"`, at: undefined }], wheels: [wheel] };
  const hash = `--hash=sha256:${"a1".repeat(32)}`;
  const parse = (...lines: string[]) => parsePins(lines, asked, "pack/manifest.lock");

  test.each([
    "six==1.17.0",
    'six==1!1.0+cu12 ; python_version >= "3.9"',
    `a @ ${url}`,
    "./wheels/my_lib-1.0-py3-none-any.whl",
  ])("%s is one, with its hashes", (requirement) => {
    const lines = [`${requirement} \\`, `    ${hash} \\`, `    ${hash}`];
    const pins = parse("# a comment", "", ...lines, "    # via nothing");
    expect(pins).toEqual([{ requirement, hashes: ["a1".repeat(32), "a1".repeat(32)] }]);
    expect(formatPins(pins)).toBe(lines.join("\n"));
  });

  test.each([
    "--no-binary :all:",
    "--index-url http://host.example/simple",
    "-r other.txt",
    "-e .",
    "six",
    "six>=1.0",
    "six==1.17.0 --no-binary six",
    'six==1.17.0 ; python_version >= "3 --no-binary six"',
    "six==1.17.0 ; anything",
    "six==1.17.0 # comment",
    "a @ https://host.example/other.whl",
    `b @ git+${url}`,
    "./wheels/other.whl",
    "./wheels/../my_lib-1.0-py3-none-any.whl",
    "/etc/passwd",
  ])("%s is none", (requirement) => {
    for (const line of [requirement, `${requirement} \\`]) {
      const first = ["six==1.17.0 \\", `    ${hash}`];
      expect(() => parse(...first, line, `    ${hash}`)).toThrow(
        expect.objectContaining({
          code: "DEPENDENCY_UNRESOLVED",
          message: expect.stringMatching(/^pack\/manifest\.lock:3: /),
          details: { next: expect.any(String) },
        }),
      );
    }
  });

  test.each([
    ["six==1.17.0"],
    ["six==1.17.0 \\"],
    ["six==1.17.0 \\", "    --hash=sha256:00"],
    ["six==1.17.0 \\", `    --hash=md5:${"0".repeat(32)}`],
    ["six==1.17.0 \\", `    ${hash} \\`, "--no-binary :all:"],
    [`six==1.17.0 ${hash}`],
  ])("%j has no hash as it must", (...lines) => {
    expect(() => parse(...lines)).toThrow(/^pack\/manifest\.lock:\d: /);
  });
});

describe("uv's refusal", () => {
  const failed = new PyisolateError("IMAGE_BUILD_FAILED", "build failed");
  const manifest = manifestOf("pillow", "custom-library>=1.0.0");
  const requirements = manifest.dependencies.map(({ requirement, at }) => ({ line: requirement, at }));

  test.each([
    [
      "today's form",
      [
        "error: No solution found when resolving dependencies",
        "  cause: Because only custom-library<=0.0.2 is available, …",
      ],
    ],
    [
      "an older uv's form",
      [
        "  × No solution found when resolving dependencies:",
        "  ╰─▶ Because only custom_library<=0.0.2 is",
        "      available, …",
      ],
    ],
  ])("in %s is one sentence, at the line of the requirement it names", (_form, lines) => {
    const error = explainUnresolved(failed, manifest, requirements, ["Using Python", ...lines]);
    expect(error?.code).toBe("DEPENDENCY_UNRESOLVED");
    expect(error?.message).toMatch(
      /^pack\/manifest.yaml:5:5: No solution found when resolving dependencies: Because only custom.library<=0.0.2 is available, …$/,
    );
  });

  test("stands at the requirement it names first, not at the one listed first", () => {
    const lines = ["error: No solution found: Because custom-library==1 depends on pillow<1 and you require pillow"];
    expect(explainUnresolved(failed, manifest, requirements, lines)?.message).toMatch(/^pack\/manifest.yaml:5:5: /);
  });

  test("about a package that nobody named stands at the dependencies key", () => {
    const lines = ["error: No solution found: Because other was not found in the package registry"];
    const stated = { ...manifest, stated: new Map([["dependencies", { line: 3, column: 1 }]] as const) };
    expect(explainUnresolved(failed, stated, requirements, lines)?.message).toMatch(/^pack\/manifest.yaml:3:1: /);
  });

  describe("of one distribution", () => {
    const lines = [
      "./wheels/my_lib-1.0-py3-none-any.whl",
      "https://host.example/8/other.whl?raw=1#top",
      "good @ https://host.example/good-1.0-py3-none-any.whl",
      "numpy<2",
    ];
    const asked = lines.map((line, index) => ({ line, at: { line: 10 + index, column: 5 } }));

    test.each([
      [
        "a broken wheel of the pack",
        10,
        [
          "error: Failed to read `my-lib @ file:///run/build/lock/wheels/my_lib-1.0-py3-none-any.whl`",
          "  cause: Failed to extract archive: my_lib-1.0-py3-none-any.whl",
          "  cause: Invalid zip file structure",
        ],
        "Failed to read `my-lib @ my_lib-1.0-py3-none-any.whl`: Failed to extract archive: my_lib-1.0-py3-none-any.whl: Invalid zip file structure",
        "Mend or replace what the line names",
      ],
      [
        "a file name that is none",
        11,
        ["error: The wheel filename `other.whl` is invalid: Must have a version"],
        "The wheel filename `other.whl` is invalid: Must have a version",
        "Mend or replace",
      ],
      [
        "another package's address",
        12,
        [
          "error: Requested package name `good` does not match `bad` in the distribution filename: https://host.example/good-1.0-py3-none-any.whl",
        ],
        "Requested package name `good` does not match `bad` in the distribution filename: https://host.example/good-1.0-py3-none-any.whl",
        "Mend or replace",
      ],
      [
        "an address that leads nowhere",
        12,
        [
          "error: Failed to download `good @ https://host.example/good-1.0-py3-none-any.whl`",
          "  cause: Failed to fetch: https://host.example/good-1.0-py3-none-any.whl",
          "  cause: HTTP status client error (404 Not Found) for url (https://host.example/good-1.0-py3-none-any.whl)",
        ],
        "404 Not Found",
        "Check the address and this machine's network",
      ],
      [
        "an older uv's form of it",
        12,
        [
          "  × Failed to download `good @ https://host.example/good-1.0-py3-none-any.whl`",
          "  ├─▶ Failed to fetch:",
          "  │   `https://host.example/good-1.0-py3-none-any.whl`",
          "  ╰─▶ HTTP status client error (404 Not Found)",
        ],
        "404 Not Found",
        "Check the address",
      ],
      [
        "a package that does not build",
        13,
        [
          "error: Failed to build `numpy==1.26.4`",
          "  cause: The build backend returned an error",
          "  cause: Call to `mesonpy.build_wheel` failed (exit status: 1)",
          "         [stdout]",
          "         many lines",
          "         [stderr]",
          "         Traceback (most recent call last):",
          "         RuntimeError: no compiler",
          "hint: Build failures usually indicate a problem with the package or the build environment",
        ],
        "Failed to build `numpy==1.26.4`: The build backend returned an error: Call to `mesonpy.build_wheel` failed (exit status: 1) RuntimeError: no compiler hint: Build failures usually indicate a problem with the package or the build environment",
        "Mend or replace",
      ],
    ])("%s: uv's reason at the line that asks for it", (_what, line, log, message, next) => {
      const error = explainUnresolved(failed, manifest, asked, ["Using Python", ...log]);
      expect(error?.code).toBe("DEPENDENCY_UNRESOLVED");
      expect(error?.message).toContain(`pack/manifest.yaml:${line}:5: `);
      expect(error?.message).toContain(message);
      expect(error?.details.next).toContain(next);
      expect(error?.details.logTail?.length).toBe(log.length + 1);
    });
  });

  test("is not made of a failing network", () => {
    const index = ["error: Request failed after 3 retries", "  cause: Failed to fetch: `https://index.example/numpy/`"];
    expect(explainUnresolved(failed, manifest, requirements, index)).toBeUndefined();
    expect(
      explainUnresolved(failed, manifest, requirements, ["error: Failed to fetch", "  cause: dns error"]),
    ).toBeUndefined();
  });
});

test("schemas are stored by image, as a whole", async () => {
  const store = join(folder, "store");
  expect(await readSchemas(store, "abc")).toBeUndefined();
  await writeSchemas(store, "abc", '{"a":1}');
  await writeSchemas(store, "abc", '{"a":2}');
  expect(await readSchemas(store, "abc")).toBe('{"a":2}');
});

test("what cannot be read in a store counts as not there", async () => {
  const store = join(folder, "damaged");
  await mkdir(join(store, "schemas/abc.json"), { recursive: true });
  expect(await readSchemas(store, "abc")).toBeUndefined();
  expect(await readSchemas(join(folder, "wheels/my_lib-1.0-py3-none-any.whl"), "abc")).toBeUndefined();
});

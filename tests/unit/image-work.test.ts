// One build call: what the engine says reaches the user without the host's secrets.

import { describe, expect, test } from "vitest";
import type { BuildOptions, Engine } from "../../src/engine/engine.ts";
import { PyisolateError } from "../../src/errors.ts";
import { hostSettingsFrom } from "../../src/image/host.ts";
import type { BuildProgress } from "../../src/image/progress.ts";
import { defaultImageSettings } from "../../src/image/settings.ts";
import { type ImageContext, note, orCancelled, reported, runBuild } from "../../src/image/work.ts";

const secret = "s3cret";

function contextOf(build: (options: BuildOptions) => Promise<void>): {
  context: ImageContext;
  events: BuildProgress[];
} {
  const events: BuildProgress[] = [];
  const machine = { caBundle: undefined, home: "/", isRoot: false, architecture: "x64" };
  const context: ImageContext = {
    engine: { images: { build: (_context: unknown, options: BuildOptions) => build(options) } } as unknown as Engine,
    storeDirectory: "/nowhere",
    host: { ...hostSettingsFrom({ PIP_INDEX_URL: `https://user:${secret}@index.example/simple` }, []), ...machine },
    settings: defaultImageSettings,
    ownerLabels: async () => ({}),
    onProgress: (event) => events.push(event),
  };
  return { context, events };
}

const request = {
  reference: "a:1",
  labels: {},
  dockerfile: "FROM scratch\n",
  entries: [],
  buildArgs: {},
  network: "none",
};

test("steps, log lines and notes tell no secret", async () => {
  const lines: string[] = [];
  const { context, events } = contextOf(async ({ onProgress }) => {
    onProgress?.({ type: "step", name: `RUN get ${secret}`, state: "started" });
    onProgress?.({ type: "log", line: `asking https://user:${secret}@index.example/simple` });
  });
  await runBuild(context, "lock", { ...request, network: "none", onLog: (line) => lines.push(line) });
  note(context, "lock", `left out: ${secret}`);
  expect(events).toEqual([
    { type: "step", link: "lock", name: "RUN get ***", state: "started" },
    { type: "log", link: "lock", line: "asking https://***@index.example/simple" },
    { type: "note", link: "lock", text: "left out: ***" },
  ]);
  expect(lines).toEqual(["asking https://***@index.example/simple"]);
});

test("neither does an error, nor its log lines, step and cause", async () => {
  const { context } = contextOf(async () => {
    const details = { step: `RUN ${secret}`, logTail: [`line ${secret}`], next: "Look." };
    throw new PyisolateError("IMAGE_BUILD_FAILED", `failed at ${secret}`, details, new Error(secret));
  });
  const error = await runBuild(context, "lock", { ...request, network: "none" }).catch((failure) => failure);
  expect(error).toMatchObject({ code: "IMAGE_BUILD_FAILED", message: "failed at ***", details: { next: "Look." } });
  expect(JSON.stringify([error.details, String(error.cause)])).not.toContain(secret);
});

test("a part is reported as started and, only when it went well, as built", async () => {
  const { context, events } = contextOf(async () => {});
  await reported(context, "source", async () => {});
  const failing = reported(context, "runtime", async () => {
    throw new Error("no");
  });
  await expect(failing).rejects.toThrow("no");
  expect(events).toEqual([
    { type: "started", link: "source" },
    { type: "built", link: "source", ms: expect.any(Number) },
    { type: "started", link: "runtime" },
  ]);
});

describe("an abort", () => {
  const { context } = contextOf(async () => {});
  const abort = new AbortController();
  abort.abort(new Error("enough"));
  const aborted = { ...context, signal: abort.signal };

  test("becomes one error that names what was cancelled, however deep", async () => {
    const work = () => Promise.reject(abort.signal.reason);
    const error = await orCancelled(aborted, "all", () => orCancelled(aborted, "a part", work)).catch((e) => e);
    expect(error).toMatchObject({
      code: "CALL_CANCELLED",
      message: "building a part was cancelled",
      cause: abort.signal.reason,
      details: { next: expect.any(String) },
    });
  });

  test("hides no other error", async () => {
    const other = new Error("disk is full");
    await expect(orCancelled(aborted, "all", () => Promise.reject(other))).rejects.toBe(other);
  });
});

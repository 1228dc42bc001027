// Nothing of a manifest can become an instruction or a shell word: it is not in any Dockerfile at all.

import { describe, expect, test } from "vitest";
import {
  dependenciesDockerfile,
  lockDockerfile,
  runtimeDockerfile,
  sourceDockerfile,
  systemDockerfile,
  wheelhouseDockerfile,
} from "../../src/image/dockerfile.ts";
import { planLinks } from "../../src/image/plan.ts";

const texts = {
  system: systemDockerfile,
  lock: lockDockerfile(true),
  dependencies: dependenciesDockerfile(false),
  source: sourceDockerfile,
  runtime: runtimeDockerfile,
  wheelhouse: wheelhouseDockerfile,
};

test.each(["libgl1; touch /owned", "libgl1\nRUN touch /owned", "$(touch /owned)", "--option", "`id`"])(
  "a system package, lock or name %j changes no Dockerfile",
  (hostile) => {
    const input = { base: { reference: "b:1", digest: "d" }, wheelsOnly: true, sourceDigest: "s", runtimeDigest: "r" };
    const lock = (body: string) => ({ text: body, body, wheels: [] });
    const bad = planLinks({ ...input, manifest: { name: hostile, systemPackages: [hostile] }, lock: lock(hostile) });
    const good = planLinks({ ...input, manifest: { name: "a", systemPackages: ["libgl1"] }, lock: lock("six==1.0") });
    expect(bad.map(({ dockerfile }) => dockerfile)).toEqual(good.map(({ dockerfile }) => dockerfile));
  },
);

describe.each(Object.entries(texts))("Dockerfile of %s", (_name, text) => {
  test("uses only what BuildKit of Docker 20.10 knows", () => {
    expect(text).not.toMatch(/# *syntax|<<|--link|--network|type=secret|type=ssh/);
  });

  test("names no registry, index or file of a machine", () => {
    expect(text).not.toMatch(/https?:|\.org|\.io\b|\/home\/|ca-certificates/);
  });
});

test("packages are read from a file, after the end of apt-get's options", () => {
  expect(systemDockerfile).toMatch(/xargs -d '\\n' -a \S+ apt-get install [^;]*--;/);
});

test("what is not trusted builds nothing from source", () => {
  expect(lockDockerfile(true)).toContain("--only-binary :all:");
  expect(dependenciesDockerfile(true)).toContain("--only-binary :all:");
  expect(lockDockerfile(false)).not.toContain("--only-binary");
});

test("packs of different trust share no cache", () => {
  const cacheOf = (text: string) => /id=(\S+?),/.exec(text)?.[1];
  expect(cacheOf(lockDockerfile(true))).toBe(cacheOf(dependenciesDockerfile(true)));
  expect(cacheOf(lockDockerfile(true))).not.toBe(cacheOf(lockDockerfile(false)));
});

test("no step runs the environment's interpreter, or any that looks at its packages", () => {
  for (const text of Object.values(texts)) {
    expect(text.replaceAll("--python /opt/env/bin/python", "")).not.toMatch(/\/opt\/env\/bin|compile-bytecode/);
    expect(text.replaceAll("python -I -S -m compileall", "")).not.toContain("compileall");
  }
  const compiling = dependenciesDockerfile(true).split("RUN ").at(-1);
  expect(compiling).toMatch(/^\/usr\/local\/bin\/python -I -S -m compileall/);
});

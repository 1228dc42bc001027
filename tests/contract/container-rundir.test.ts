// Who can reach a pack's socket, tried by another user of this machine (as a container sees it).

import { chmodSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ContainerSpec } from "../../src/engine/engine.ts";
import { type Bench, openBench, runCode } from "./container-support.ts";

let bench: Bench;
beforeAll(async () => {
  bench = await openBench();
});
afterAll(() => bench.close());

const dial = (path: string) => `
import socket
try:
    socket.socket(socket.AF_UNIX).connect("${path}")
    result = "connected"
except OSError as error:
    result = type(error).__name__
`;

test("another user cannot pass the run root; its owner can", async () => {
  const host = dirname(bench.runRoot);
  chmodSync(host, 0o755);
  const mount = { type: "bind", source: host, target: "/host", write: false } as const;
  const { uid, gid } = bench.owner.user;
  const dialAs = async (user: string | undefined) => {
    const alter = (spec: ContainerSpec) => ({ ...spec, mounts: [...spec.mounts, mount], user: user ?? spec.user });
    await using container = await bench.start({}, { alter });
    return await runCode(container.connection, dial(`/host/run/${bench.owner.id}/owner.sock`));
  };
  expect(await dialAs(undefined)).toBe("PermissionError");
  expect(await dialAs(`${uid}:${gid}`)).toBe("connected");
});

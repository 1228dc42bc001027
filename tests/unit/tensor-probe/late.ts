// Reads and writes arrays of tensors after their release and after the pool has closed their memory. Run with --expose-gc.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { HostTensors } from "../../../src/tensor/host.ts";
import { loadNative } from "../../../src/tensor/native.ts";

const MiB = 2 ** 20;
const collect = globalThis.gc as () => void;

function mappings(): number {
  return readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes("memfd:pyisolate")).length;
}

function addressBytes(): number {
  const [, kib] = /^VmSize:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kib) * 1024;
}

const native = await loadNative();
const host = new HostTensors({ native, totalBytes: 64 * MiB, keepBytes: 0, idleMs: 10, waitMs: 1000 });
const tensor = await host.empty("uint8", [8 * MiB]);
const late = tensor.data;
late.fill(5);
const lateFloats = new Float32Array(late.buffer, late.byteOffset, 10);
tensor.release();
while (host.stats().segments > 0) await sleep(5);

const seen = { byte: late[MiB], last: late.at(-1), float: lateFloats[3] };
late.fill(6); // into nowhere
const code = (() => {
  try {
    return tensor.data.length;
  } catch (error) {
    return (error as { code: string }).code;
  }
})();
collect();
const afterWrite = late[0];

// Dropped, not released: the tensor, then an array of it.
let dropped: unknown = (await host.empty("uint8", [8 * MiB])).data;
collect();
await sleep(20);
const whileArrayLives = host.stats().segments;
dropped = undefined;
for (let round = 0; round < 50 && host.stats().segments > 0; round += 1) {
  collect();
  await sleep(10);
}

// Many, one after another: their addresses come back, too.
const before = addressBytes();
for (let count = 0; count < 20; count += 1) {
  (await host.empty("uint8", [32 * MiB])).data.fill(1);
  while (host.stats().segments > 0) {
    collect();
    await sleep(15);
  }
}
for (let round = 0; round < 50 && addressBytes() - before > 100 * MiB; round += 1) {
  collect();
  await sleep(10);
}
const areAddressesBack = addressBytes() - before <= 100 * MiB;

console.log(
  JSON.stringify({
    seen,
    code,
    afterWrite,
    whileArrayLives,
    left: host.stats().segments,
    mappings: mappings(),
    dropped,
    areAddressesBack,
  }),
);

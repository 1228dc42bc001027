// Any value survives TypeScript → Python → TypeScript and Python → TypeScript → Python, each language generating for the other.

import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Peer } from "../../src/rpc/peer.ts";
import { SocketTransport } from "../../src/rpc/transport.ts";
import { DTYPES, type Dtype } from "../../src/tensor/dtype.ts";
import { inlineTensors } from "../../src/tensor/inline.ts";
import { Tensor } from "../../src/tensor/tensor.ts";
import { anyValue } from "../wire/arbitrary.ts";
import type { PythonProcess } from "./python.ts";
import { startPythonTools } from "./tools.ts";

let python: PythonProcess;
let peer: Peer;

beforeAll(async () => {
  python = await startPythonTools("generate.py");
  const methods = { echo: ([value]: unknown[]) => value as never };
  peer = new Peer({
    transport: new SocketTransport(python.socket),
    methods,
    extension: inlineTensors,
    isLossless: true,
  });
  await peer.ready;
});

afterAll(async () => {
  peer?.close();
  await python?.stop();
});

test("TypeScript's values come back from Python", async () => {
  await fc.assert(
    fc.asyncProperty(anyValue(), async (value) => {
      expect(await peer.call("echo", [value])).toStrictEqual(value);
    }),
    { numRuns: 500 },
  );
});

const tensor = fc
  .tuple(fc.constantFrom(...(Object.keys(DTYPES) as Dtype[])), fc.array(fc.nat({ max: 5 }), { maxLength: 4 }))
  .chain(([dtype, shape]) => {
    const bytes = shape.reduce((product, count) => product * count, DTYPES[dtype].itemBytes);
    const byte = dtype === "bool" ? fc.nat({ max: 1 }) : fc.nat({ max: 255 });
    return fc.array(byte, { minLength: bytes, maxLength: bytes }).map((data) => ({ dtype, shape, data }));
  });

test("TypeScript's tensors of any dtype and shape come back from Python, where they are numpy's or our own", async () => {
  await fc.assert(
    fc.asyncProperty(tensor, async ({ dtype, shape, data }) => {
      const back = (await peer.call("echo", [new Tensor(dtype, shape, Uint8Array.from(data))])) as Tensor;
      const bytes = new Uint8Array(back.data.buffer, back.data.byteOffset, back.data.byteLength);
      expect([back.dtype, back.shape, [...bytes]]).toEqual([dtype, shape, data]);
    }),
    { numRuns: 500 },
  );
});

test.each(["values", "arrays"])("Python's %s come back from TypeScript", async (what) => {
  await peer.call("generate", [what, 500]);
});

test("numpy's scalars arrive as the values they hold", async () => {
  expect(await peer.call("scalars_of_numpy", [])).toBe(true);
});

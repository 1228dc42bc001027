// Arrays that outlive their tensors, in a program of its own: it must not crash.

import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { expect, test } from "vitest";

test("late reads and writes meet zeros, a late tensor TENSOR_RELEASED, and garbage gives its memory back", async () => {
  const program = fileURLToPath(new URL("./tensor-probe/late.ts", import.meta.url));
  const { stdout } = await execa(process.execPath, ["--expose-gc", "--import", "tsx", program]);
  expect(JSON.parse(stdout)).toEqual({
    seen: { byte: 0, last: 0, float: 0 },
    code: "TENSOR_RELEASED",
    afterWrite: 6, // memory of this process, which nobody else sees
    whileArrayLives: 1,
    left: 0,
    mappings: 0,
    areAddressesBack: true,
  });
});

import { expect, test } from "vitest";
import { progressPrinter } from "../../src/entry/progress.ts";

const MiB = 1024 ** 2;

test("a build is told in lines: link, steps, what was cached, seconds", () => {
  const lines: string[] = [];
  const print = progressPrinter(
    (line) => lines.push(line),
    () => 0,
  );
  print({ type: "started", link: "source" });
  print({ type: "step", link: "source", name: "[1/2] FROM base", state: "cached" });
  print({ type: "step", link: "source", name: `[2/2] RUN ${"x".repeat(200)}`, state: "started" });
  print({ type: "step", link: "source", name: "[2/2] RUN", state: "done" });
  print({ type: "log", link: "source", line: "chatter" });
  print({ type: "built", link: "source", ms: 1234 });
  print({ type: "cached", link: "runtime" });
  expect(lines).toEqual([
    "· source: building …\n",
    "    [1/2] FROM base (cached)\n",
    `    [2/2] RUN ${"x".repeat(90)}…\n`,
    "✓ source: built (1.2 s)\n",
    "✓ runtime: nothing changed\n",
  ]);
});

test("a long transfer gets a line every two seconds, a small one none", () => {
  const lines: string[] = [];
  let nowMs = 0;
  const print = progressPrinter(
    (line) => lines.push(line),
    () => nowMs,
  );
  for (nowMs = 0; nowMs < 5000; nowMs += 500) {
    print({ type: "bytes", link: "wheelhouse", name: "context", doneBytes: nowMs * MiB, totalBytes: 0 });
    print({ type: "bytes", link: "base", name: "small", doneBytes: 1, totalBytes: MiB });
  }
  print({ type: "bytes", link: "base", name: "layer", doneBytes: 5 * MiB, totalBytes: 50 * MiB });
  expect(lines).toEqual([
    "    context: 500 MB\n",
    "    context: 2500 MB\n",
    "    context: 4500 MB\n",
    "    layer: 5 MB of 50 MB\n",
  ]);
});

// The import table of docs/architecture.md, held against the code.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../..");
const source = join(root, "src");

/** folder → folders it may import, as the document says. */
function readTable(): Map<string, Set<string>> {
  const text = readFileSync(join(root, "docs/architecture.md"), "utf8");
  const block = /<!-- import table: TypeScript -->\n([\s\S]*?)<!-- end -->/.exec(text)?.[1] ?? "";
  const rows = block
    .split("\n")
    .slice(2)
    .filter((line) => line.startsWith("|"));
  return new Map(
    rows.map((row) => {
      const [folder = "", allowed = ""] = row
        .split("|")
        .slice(1)
        .map((cell) => cell.trim());
      return [folder, new Set(allowed.split(/\s+/).filter((word) => word !== "–"))];
    }),
  );
}

interface Edge {
  readonly file: string;
  readonly from: string;
  /** A folder of src, or a package's name. */
  readonly to: string;
}

/** Every import between folders of `directory`, and every import of a package. */
function readEdges(files: ReadonlyMap<string, string>): Edge[] {
  const edges: Edge[] = [];
  for (const [file, text] of files) {
    const from = folderOf(file);
    for (const [, specifier = ""] of text.matchAll(/(?:\bfrom\s+|\bimport\s*\(\s*|\bimport\s+)["']([^"']+)["']/g)) {
      if (!specifier.startsWith(".")) edges.push({ file, from, to: specifier });
      else {
        const target = relative(source, resolve(source, dirname(file), specifier));
        const to = folderOf(target);
        if (to !== from && target !== "errors.ts") edges.push({ file, from, to });
      }
    }
  }
  return edges;
}

/** "" for the files directly in src/. */
function folderOf(file: string): string {
  return file.includes("/") ? (file.split("/")[0] as string) : "";
}

function forbidden(edges: readonly Edge[], table: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  return edges
    .filter(({ from, to }) => {
      if (to === "dockerode") return from !== "engine";
      if (from === "") return false; // src/index.ts is the library's door
      if (to === "") return true; // errors.ts is left out by readEdges, nothing else up there may be imported
      return table.has(to) && !table.get(from)?.has(to);
    })
    .map(({ file, to }) => `${file} imports ${to}`);
}

const texts = new Map(
  readdirSync(source, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => [relative(source, path), readFileSync(path, "utf8")]),
);

test("every folder of src has a row in the import table, and every row a folder", () => {
  const folders = new Set([...texts.keys()].map(folderOf).filter((folder) => folder !== ""));
  expect([...readTable().keys()].sort()).toEqual([...folders].sort());
});

test("no file imports a folder that the table does not allow", () => {
  expect(forbidden(readEdges(texts), readTable())).toEqual([]);
});

/** Builtin modules of Node that a folder must do without, as the table's last column says. */
const forbiddenBuiltins: Readonly<Record<string, readonly string[]>> = {
  manifest: ["fs", "net", "http", "child_process", "os"],
  rpc: ["fs", "child_process", "os"],
  tensor: ["http", "child_process", "os"],
  supervisor: ["fs", "net", "child_process", "timers", "perf_hooks"],
  store: ["net", "http", "child_process"],
  image: ["net", "http"],
};

test("no folder uses a builtin module that it must never know", () => {
  const uses = readEdges(texts).filter(({ from, to }) =>
    forbiddenBuiltins[from]?.some((name) => to === `node:${name}` || to.startsWith(`node:${name}/`)),
  );
  expect(uses.map(({ file, to }) => `${file} imports ${to}`)).toEqual([]);
});

test("the environment is read in entry/, and by the one default of extension/settings.ts", () => {
  const files = [...texts].filter(([, text]) => text.includes("process.env")).map(([file]) => file);
  expect(files.filter((file) => folderOf(file) !== "entry")).toEqual(["extension/settings.ts"]);
});

test("an edge that is not in the table is found", () => {
  const table = readTable();
  const bad = new Map([
    ["rpc/frame.ts", 'import { Tensor } from "../tensor/tensor.ts";'],
    ["commands/run.ts", 'const { default: Docker } = await import("dockerode");'],
  ]);
  expect(forbidden(readEdges(bad), table)).toEqual([
    "rpc/frame.ts imports tensor",
    "commands/run.ts imports dockerode",
  ]);
});

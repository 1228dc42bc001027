// BuildProgress: what the image chain says while it works. Small, typed, and free of the host's secrets.

import type { EngineProgress } from "../engine/engine.ts";

/** The links of the chain, and the images it needs beside them. */
export type BuildPart = "base" | "uv" | "wheelhouse" | "lock" | "system" | "dependencies" | "source" | "runtime";

export type BuildProgress =
  | { readonly type: "started"; readonly link: BuildPart }
  | {
      readonly type: "step";
      readonly link: BuildPart;
      readonly name: string;
      readonly state: "started" | "cached" | "done" | "failed";
    }
  | { readonly type: "log"; readonly link: BuildPart; readonly line: string }
  | {
      readonly type: "bytes";
      readonly link: BuildPart;
      readonly name: string;
      readonly doneBytes: number;
      readonly totalBytes: number;
    }
  /** Something the user should know: a fallback, an address left out. */
  | { readonly type: "note"; readonly link: BuildPart; readonly text: string }
  | { readonly type: "cached"; readonly link: BuildPart }
  | { readonly type: "built"; readonly link: BuildPart; readonly ms: number };

export type ReportProgress = (event: BuildProgress) => void;

/** The engine's progress as that of one part. `redact` takes the host's secrets out of every text. */
export function forPart(
  report: ReportProgress,
  link: BuildPart,
  redact: (text: string) => string,
): (event: EngineProgress) => void {
  return (event) => {
    switch (event.type) {
      case "step":
        return report({ type: "step", link, name: redact(event.name), state: event.state });
      case "log":
        return report({ type: "log", link, line: redact(event.line) });
      case "bytes":
        return report({
          type: "bytes",
          link,
          name: event.name,
          doneBytes: event.doneBytes,
          totalBytes: event.totalBytes,
        });
    }
  };
}

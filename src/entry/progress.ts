// Progress of builds as lines for people. Lines that steps print are shown only when the step fails (print.ts).

import type { CommandContext } from "../commands/context.ts";
import { printable } from "./print.ts";

type ReportProgress = CommandContext["onProgress"];
type Progress = Parameters<ReportProgress>[0];

const shownStepCharacters = 100;
/** Between two lines about the same transfer. */
const bytesIntervalMs = 2000;
/** Smaller transfers are over before anybody wonders. */
const shownTransferBytes = 10 * 1024 ** 2;

/** Prints with `write`, which gets whole lines; `now`: milliseconds. */
export function progressPrinter(write: (line: string) => void, now: () => number): ReportProgress {
  const transfers = new Map<string, number>();
  const isDue = (name: string): boolean => {
    if (now() - (transfers.get(name) ?? Number.NEGATIVE_INFINITY) < bytesIntervalMs) return false;
    transfers.set(name, now());
    return true;
  };
  return (event) => {
    const line = event.type === "bytes" ? bytesLine(event, isDue) : lineOf(event);
    if (line !== undefined) write(`${printable(line)}\n`);
  };
}

function lineOf(event: Exclude<Progress, { type: "bytes" }>): string | undefined {
  switch (event.type) {
    case "started":
      return `· ${event.link}: building …`;
    case "step":
      return stepLine(event);
    case "note":
      return `  ${event.text}`;
    case "built":
      return `✓ ${event.link}: built (${(event.ms / 1000).toFixed(1)} s)`;
    case "cached":
      return `✓ ${event.link}: nothing changed`;
    case "log":
      return undefined;
  }
}

function stepLine({ name, state }: Extract<Progress, { type: "step" }>): string | undefined {
  if (state !== "started" && state !== "cached") return undefined;
  const shown = name.length > shownStepCharacters ? `${name.slice(0, shownStepCharacters)}…` : name;
  return `    ${shown}${state === "cached" ? " (cached)" : ""}`;
}

function bytesLine(event: Extract<Progress, { type: "bytes" }>, isDue: (name: string) => boolean): string | undefined {
  const { name, doneBytes, totalBytes } = event;
  const isShown = Math.max(doneBytes, totalBytes) >= shownTransferBytes && isDue(name);
  if (!isShown) return undefined;
  const total = totalBytes > 0 ? ` of ${megabytes(totalBytes)}` : "";
  return `    ${name}: ${megabytes(doneBytes)}${total}`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(0)} MB`;
}

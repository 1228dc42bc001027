// Runs a program and shows that it is alive: one line when it starts, one when it ends, its output only when it fails.

import { spawn } from "node:child_process";
import { SetupError, say } from "./say.mjs";

/** Runs `command` to its end with its output kept back. Raises SetupError with the last lines of it when it fails. */
export async function runQuietly(label, command, args, options = {}) {
  const startedMs = performance.now();
  say(`· ${label} …`);
  const output = [];
  const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => output.push(chunk));
  const status = await exitOf(child);
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  if (status !== 0) {
    const tail = Buffer.concat(output).toString().trimEnd().split("\n").slice(-30).join("\n");
    throw new SetupError(`${label} failed (${command} ended with ${status}):\n${tail}`);
  }
  say(`✓ ${label} (${seconds} s)`);
}

/** Runs `command` with its output on the terminal and gives its exit status. */
export async function runOpenly(command, args, options = {}) {
  return exitOf(spawn(command, args, { stdio: "inherit", ...options }));
}

function exitOf(child) {
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? signal));
  });
}

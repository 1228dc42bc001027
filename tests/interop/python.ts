// Python: starts a script of this folder with our Python runtime, and gives the connection it dials.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");

export interface PythonProcess {
  /** Paused; to be handed to a SocketTransport. */
  readonly socket: Socket;
  /** Exit status of the process; null when a signal ended it. */
  readonly exited: Promise<number | null>;
  stop(): Promise<void>;
}

/** Runs `python3 SCRIPT SOCKET`. Rejects with what it printed when it ends before it dials. */
export async function startPython(script: string): Promise<PythonProcess> {
  const directory = mkdtempSync(join(tmpdir(), "pyisolate-interop-"));
  const path = join(directory, "control.sock");
  const server = createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const child = spawn("python3", [join(import.meta.dirname, script), path], {
    env: { ...process.env, PYTHONPATH: join(root, "runtime-python/src"), PYTHONDONTWRITEBYTECODE: "1" },
    stdio: ["ignore", "inherit", "pipe"],
  });
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const stop = async () => {
    child.kill("SIGKILL");
    await exited;
    server.close();
    rmSync(directory, { recursive: true });
  };
  try {
    const socket = await Promise.race([
      new Promise<Socket>((resolve) => server.once("connection", resolve)),
      failAtExit(child),
    ]);
    return { socket, exited, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function failAtExit(child: ChildProcess): Promise<never> {
  let output = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    process.stderr.write(text);
  });
  const status = await new Promise((resolve, reject) => child.once("close", resolve).once("error", reject));
  throw new Error(`python3 ended with status ${status} before it dialled:\n${output}`);
}

// Listener: a pack's socket on our side. Takes exactly one connection, the worker's, and closes.
// Must not know what is said on it.

import { createServer, type Socket } from "node:net";
import { orUnusable } from "./rundir.ts";

export interface WorkerListener {
  /** The worker's connection, paused. Stays pending when none comes. */
  readonly connection: Promise<Socket>;
  /** Stops listening and ends the connection, if one came. Abandoning twice is fine. */
  abandon(): void;
}

/**
 * Listens on `socketPath` for any uid: who can reach the path at all is decided by the directories above it.
 * `isWorker`: a connection for which it says no is closed, and the next one is awaited. Raises ISOLATION_UNAVAILABLE.
 */
export async function listenForWorker(
  socketPath: string,
  isWorker: (connection: Socket) => boolean = () => true,
): Promise<WorkerListener> {
  const server = createServer({ pauseOnConnect: true });
  let worker: Socket | undefined;
  const connection = new Promise<Socket>((resolve) => {
    server.on("connection", (socket) => {
      if (worker !== undefined || !isWorker(socket)) {
        socket.destroy();
        return;
      }
      server.close(); // at once: whoever else is queued is reset by the kernel
      worker = socket;
      resolve(socket);
    });
  });
  const listening = new Promise<void>((resolve, reject) => {
    server.on("error", reject); // for good: a later failure to accept must not end this program
    server.listen({ path: socketPath, readableAll: true, writableAll: true }, resolve);
  });
  await orUnusable(socketPath, "listened on", listening);
  return {
    connection,
    abandon: () => {
      server.close();
      worker?.destroy();
    },
  };
}

// Transport: a reliable stream of bytes, both ways. One of the two seams where tests may put a fake.
// Must not know frames.

import type { Socket } from "node:net";

export interface TransportHandlers {
  /** The next bytes; borrowed for as long as the receiver likes. */
  onData(chunk: Buffer): void;
  /** Everything that was sent has left, after `isFull` had been true. */
  onDrain(): void;
  /** The stream has ended; `error` when it was torn. Comes once, and nothing after it. */
  onEnd(error?: Error): void;
}

export interface Transport {
  /** Nothing comes in before this. */
  start(handlers: TransportHandlers): void;
  /** Writes the buffers in one go, in order. They are borrowed until they have left. */
  send(buffers: readonly Uint8Array[]): void;
  /** Bytes sent that have not left. */
  readonly queuedBytes: number;
  /** More should wait for onDrain. */
  readonly isFull: boolean;
  pause(): void;
  resume(): void;
  /** Ends the stream after what was sent has left. */
  close(): void;
  /** Ends the stream at once. */
  destroy(): void;
}

/** A connected socket as a Transport, which from then on owns it. */
export class SocketTransport implements Transport {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  start(handlers: TransportHandlers): void {
    let failure: Error | undefined;
    let hasEnded = false;
    const end = () => {
      if (hasEnded) return;
      hasEnded = true;
      handlers.onEnd(failure);
    };
    this.#socket.on("error", (error) => {
      failure ??= error;
    });
    this.#socket.on("end", end);
    this.#socket.on("close", end);
    this.#socket.on("drain", () => handlers.onDrain());
    this.#socket.on("data", (chunk: Buffer) => handlers.onData(chunk));
    this.#socket.resume();
  }

  send(buffers: readonly Uint8Array[]): void {
    const socket = this.#socket;
    if (buffers.length === 1) {
      socket.write(buffers[0] as Uint8Array);
      return;
    }
    socket.cork();
    for (const buffer of buffers) socket.write(buffer);
    socket.uncork();
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  get isFull(): boolean {
    return this.#socket.writableNeedDrain;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroySoon();
    this.#socket.unref();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

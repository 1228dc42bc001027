// Descriptor socket: how the descriptors of segments come from the host to a worker, one record with each.
// Beside the control socket, and in that direction only. Must not know what a segment holds.

import type { Socket } from "node:net";
import { PyisolateError } from "../errors.ts";
import { violation } from "../rpc/frame.ts";
import { descriptorOf, type Native } from "./native.ts";

/** Number of the segment (4 bytes), zero (4), its bytes (8). */
const RECORD_BYTES = 16;

/** The host's end of one worker's socket. */
export class DescriptorSender {
  readonly #native: Native;
  readonly #connection: Socket;
  readonly #onViolation: (error: PyisolateError) => void;
  /** Why nothing can be sent any more. */
  #fault: PyisolateError | undefined;

  /** Owns the connection, which may be paused. `onViolation`: once, when the worker sent a byte or takes nothing. */
  constructor(native: Native, connection: Socket, onViolation: (error: PyisolateError) => void) {
    this.#native = native;
    this.#connection = connection;
    this.#onViolation = onViolation;
    connection.on("data", () => {
      if (this.#fault === undefined) this.#accuse("a byte on the descriptor socket");
    });
    connection.on("error", () => {}); // close comes next
    connection.on("close", () => {
      this.#fault ??= ended();
    });
    connection.resume();
  }

  /** Borrows the descriptor. Raises PROTOCOL_VIOLATION when the worker takes none, PEER_BROKEN. */
  send(number: number, nbytes: number, descriptor: number): void {
    if (this.#fault !== undefined) throw this.#fault;
    const record = Buffer.alloc(RECORD_BYTES);
    record.writeUInt32LE(number, 0);
    record.writeBigUInt64LE(BigInt(nbytes), 8);
    const socket = descriptorOf(this.#connection);
    if (socket === undefined) throw ended();
    if (this.#native.sendDescriptor(socket, record, descriptor)) return;
    throw this.#accuse("a worker that does not take its descriptors");
  }

  close(): void {
    this.#fault ??= new PyisolateError("PEER_CLOSED", "the descriptor socket was closed by this side");
    this.#connection.destroy();
  }

  #accuse(what: string): PyisolateError {
    const fault = violation(what);
    this.#fault = fault;
    this.#connection.destroy();
    this.#onViolation(fault);
    return fault;
  }
}

function ended(): PyisolateError {
  return new PyisolateError("PEER_BROKEN", "the descriptor socket ended from the other side");
}

// Caller: calls of this side, from the promise to the session and back. Time limits, signals and calls that the other
// side does not end although it was asked to. Must not know frames or sockets.

import { PyisolateError } from "../errors.ts";
import { Alarm } from "./alarm.ts";
import { callBody, type ErrorBody, type EventName } from "./bodies.ts";
import { Inflow } from "./inflow.ts";
import { remoteError } from "./remote.ts";
import type { Session } from "./session.ts";
import { OutgoingAttachments, type Value, type ValueCodec, type ValueExtension, waitUntilPrepared } from "./values.ts";

export interface CallOptions {
  /** Absent: no limit. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((name: EventName, data: Value) => void) | undefined;
  /** Filled with what was copied to send the arguments. */
  readonly transfer?: Transfer | undefined;
  /** Called once when the call was cancelled, or ran out of time, and is still not answered `stuckMs` later. */
  readonly onStuck?: ((stuckMs: number) => void) | undefined;
}

export interface Transfer {
  bytesCopied: number;
  /** Each once. */
  routes: readonly string[];
}

export interface CallerOptions {
  readonly session: Session<Ticket>;
  readonly codec: ValueCodec;
  readonly extension: ValueExtension | undefined;
  readonly stuckMs: number;
}

/** One call of this side. */
export interface Ticket {
  readonly method: string;
  readonly resolve: (value: Value) => void;
  readonly reject: (error: unknown) => void;
  /** Takes the items of a stream, each with the id of the call; absent: they are dropped. */
  readonly onItem: ((item: Value, id: number) => void) | undefined;
  readonly onEvent: CallOptions["onEvent"];
  readonly onStuck: CallOptions["onStuck"];
  /** Its caller has the result. The id stays live until the other side answers. */
  isSettled: boolean;
  readonly timeoutMs: number | undefined;
  /** When its time is up, and when it counts as stuck, as performance.now() counts. */
  readonly endMs: number;
  stuckAtMs: number;
  readonly signal: AbortSignal | undefined;
}

export class Caller {
  readonly #options: CallerOptions;
  readonly #session: Session<Ticket>;
  /** Calls whose values cannot be encoded yet. */
  readonly #preparing = new Set<Ticket>();
  /** One listener for all calls that hang on a signal: a signal warns of more than ten. */
  readonly #bySignal = new Map<AbortSignal, Set<Ticket>>();
  readonly #alarm = new Alarm((nowMs) => this.#lookAtClock(nowMs));
  #ended: PyisolateError | undefined;

  constructor(options: CallerOptions) {
    this.#options = options;
    this.#session = options.session;
  }

  /** Why no more calls can be made; undefined while they can. */
  get ended(): PyisolateError | undefined {
    return this.#ended;
  }

  call(method: string, args: Value[], options: CallOptions): Promise<Value> {
    return new Promise((resolve, reject) => {
      this.#open(method, args, options, resolve, reject, undefined);
    });
  }

  stream(method: string, args: Value[], options: CallOptions): Inflow {
    return new Inflow((onItem, resolve, reject) => {
      const open = { id: 0 };
      const take = (item: Value, id: number) => {
        open.id = id;
        onItem(item);
      };
      const ticket = this.#open(method, args, options, resolve, reject, take);
      return {
        taken: () => this.#session.more(open.id, ticket),
        stop: () => {
          if (!ticket.isSettled) this.#abandon(ticket, stopped(method));
        },
      };
    });
  }

  /** Raises what ended the connection, CALL_CANCELLED, or VALUE_UNSUPPORTED. */
  #open(
    method: string,
    args: Value[],
    { timeoutMs, signal, onEvent, transfer, onStuck }: CallOptions,
    resolve: Ticket["resolve"],
    reject: Ticket["reject"],
    onItem: Ticket["onItem"],
  ): Ticket {
    if (this.#ended !== undefined) throw this.#ended;
    if (signal?.aborted) throw cancelled(method, signal);
    const never = Number.POSITIVE_INFINITY;
    const endMs = timeoutMs === undefined ? never : performance.now() + timeoutMs;
    const state = { isSettled: false, stuckAtMs: never };
    const ticket = { method, resolve, reject, onItem, onEvent, onStuck, timeoutMs, endMs, signal, ...state };
    this.#alarm.setFor(endMs);
    if (signal !== undefined) this.#watch(signal, ticket);
    try {
      const isPrepared = this.#options.extension?.prepare?.(args);
      if (isPrepared === undefined) this.#start(ticket, args, transfer, timeoutMs);
      else void this.#startPrepared(ticket, args, transfer, isPrepared);
    } catch (error) {
      this.#settle(ticket);
      throw error;
    }
    return ticket;
  }

  /** Encodes the arguments. Raises VALUE_UNSUPPORTED. */
  #start(ticket: Ticket, args: Value[], transfer: Transfer | undefined, timeoutMs: number | undefined): void {
    const sink = new OutgoingAttachments(this.#session.leases);
    const body = callBody(ticket.method, args, this.#options.codec, sink);
    if (transfer !== undefined) {
      transfer.bytesCopied = sink.bytesCopied;
      transfer.routes = sink.routes;
    }
    this.#session.call(ticket, body, timeoutMs);
  }

  /** The ticket may be settled meanwhile: by its time limit, its signal or the end of the connection. */
  async #startPrepared(
    ticket: Ticket,
    args: Value[],
    transfer: Transfer | undefined,
    isPrepared: Promise<void>,
  ): Promise<void> {
    this.#preparing.add(ticket);
    try {
      await waitUntilPrepared(this.#options.extension, args, isPrepared, () => ticket.isSettled);
      if (!ticket.isSettled) this.#start(ticket, args, transfer, this.remainingMs(ticket));
    } catch (error) {
      this.refused(ticket, error);
    } finally {
      this.#preparing.delete(ticket);
    }
  }

  /** What remains of the time limit, in whole milliseconds; undefined: there is none. */
  remainingMs({ timeoutMs, endMs }: Ticket): number | undefined {
    return timeoutMs === undefined ? undefined : Math.max(0, Math.round(endMs - performance.now()));
  }

  // What the session tells.

  /** false: nobody wanted the value. */
  answered(ticket: Ticket, value: Value, isLast: boolean, id: number): boolean {
    if (isLast) {
      if (!this.#settle(ticket)) return false;
      ticket.resolve(value);
      return true;
    }
    if (ticket.isSettled) return false;
    if (ticket.onItem === undefined) {
      this.#session.more(id, ticket);
      return false;
    }
    ticket.onItem(value, id);
    return true;
  }

  failed(ticket: Ticket, error: ErrorBody): void {
    if (this.#settle(ticket)) ticket.reject(remoteError(ticket.method, error));
  }

  refused(ticket: Ticket, error: unknown): void {
    if (this.#settle(ticket)) ticket.reject(error);
  }

  /** What a listener raises is the caller's own: it ends that call and nothing else. */
  notified(ticket: Ticket, event: EventName, data: Value): void {
    if (ticket.isSettled) return;
    try {
      ticket.onEvent?.(event, data);
    } catch (error) {
      this.#abandon(ticket, error);
    }
  }

  /** The connection has ended. */
  close(error: PyisolateError): void {
    this.#ended = error;
    this.#alarm.clear();
    for (const ticket of this.#tickets()) this.refused(ticket, error);
  }

  // How a call ends from this side.

  /** The caller is told at once; the id stays live until the other side answers. */
  #abandon(ticket: Ticket, error: unknown): void {
    this.refused(ticket, error);
    this.#session.cancel(ticket);
    if (ticket.onStuck === undefined) return;
    ticket.stuckAtMs = performance.now() + this.#options.stuckMs;
    this.#alarm.setFor(ticket.stuckAtMs);
  }

  /** Ends the caller's side of a call, once; false: it had ended. */
  #settle(ticket: Ticket): boolean {
    if (ticket.isSettled) return false;
    ticket.isSettled = true;
    if (ticket.signal !== undefined) this.#unwatch(ticket.signal, ticket);
    return true;
  }

  #lookAtClock(nowMs: number): void {
    const { stuckMs } = this.#options;
    for (const ticket of this.#tickets()) {
      const atMs = ticket.isSettled ? ticket.stuckAtMs : ticket.endMs;
      if (atMs > nowMs) this.#alarm.setFor(atMs);
      else if (ticket.isSettled) {
        ticket.stuckAtMs = Number.POSITIVE_INFINITY;
        ticket.onStuck?.(stuckMs);
      } else {
        const message = `"${ticket.method}" gave no result within ${ticket.timeoutMs} ms`;
        this.#abandon(ticket, new PyisolateError("CALL_TIMEOUT", message));
      }
    }
  }

  /** Calls that the other side has not ended, or that were not sent. */
  #tickets(): Ticket[] {
    return [...this.#preparing, ...this.#session.tickets()];
  }

  #watch(signal: AbortSignal, ticket: Ticket): void {
    const tickets = this.#bySignal.get(signal);
    if (tickets !== undefined) {
      tickets.add(ticket);
      return;
    }
    this.#bySignal.set(signal, new Set([ticket]));
    signal.addEventListener("abort", this.#onAbort);
  }

  #unwatch(signal: AbortSignal, ticket: Ticket): void {
    const tickets = this.#bySignal.get(signal);
    tickets?.delete(ticket);
    if (tickets?.size !== 0) return;
    this.#bySignal.delete(signal);
    signal.removeEventListener("abort", this.#onAbort);
  }

  readonly #onAbort = ({ target }: Event): void => {
    const signal = target as AbortSignal;
    for (const ticket of [...(this.#bySignal.get(signal) ?? [])])
      this.#abandon(ticket, cancelled(ticket.method, signal));
  };
}

function cancelled(method: string, signal: AbortSignal): PyisolateError {
  return new PyisolateError("CALL_CANCELLED", `"${method}" was cancelled by the caller`, {}, signal.reason);
}

function stopped(method: string): PyisolateError {
  return new PyisolateError("CALL_CANCELLED", `the caller of "${method}" takes no more of its stream`);
}

// Peer: calls as promises, over one connection. Symmetric: both sides call, both offer methods. Mirrors peer.py.
// Closed = this side ended it, broken = the world did, remote = the other side's code raised.
// Must not know containers or tensors.

import { PyisolateError } from "../errors.ts";
import { Alarm } from "./alarm.ts";
import { callBody, type EventName, errorText, eventBody, resultBody } from "./bodies.ts";
import { Intake } from "./intake.ts";
import { DEFAULT_LIMITS, type Limits } from "./kinds.ts";
import { Outbox } from "./outbox.ts";
import { remoteError } from "./remote.ts";
import { Session, type SessionOwner } from "./session.ts";
import type { Transport } from "./transport.ts";
import { OutgoingAttachments, type Value, ValueCodec, type ValueExtension } from "./values.ts";

export interface PeerOptions {
  /** Owned by the peer from here on. */
  readonly transport: Transport;
  /** What the other side may call. */
  readonly methods?: Readonly<Record<string, Method>>;
  readonly extension?: ValueExtension;
  readonly limits?: Partial<Limits>;
  /** Floats of the other side without fraction come as Float, so that they can be sent on unchanged. */
  readonly isLossless?: boolean;
  /** Makes this side a worker: what to do when the other side sends stop. Absent: stop is a violation. */
  readonly onStop?: () => void;
}

export type Method = (args: Value[], context: CallContext) => Value | Promise<Value>;

export interface CallContext {
  /** Aborted when the caller cancels or the connection ends. */
  readonly signal: AbortSignal;
  /** Tells the caller. Dropped when the call or the connection has ended. Raises VALUE_UNSUPPORTED. */
  event(name: EventName, data: Value): void;
}

export interface CallOptions {
  /** Absent: no limit. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((name: EventName, data: Value) => void) | undefined;
  /** Filled with what was copied to send the arguments. */
  readonly transfer?: Transfer | undefined;
}

export interface Transfer {
  bytesCopied: number;
  /** Each once. */
  routes: readonly string[];
}

/** One call of this side. */
interface Ticket {
  readonly method: string;
  readonly resolve: (value: Value) => void;
  readonly reject: (error: unknown) => void;
  readonly onEvent: CallOptions["onEvent"];
  isSettled: boolean;
  readonly timeoutMs: number | undefined;
  /** When its time is up, as performance.now() counts. */
  readonly endMs: number;
  readonly signal: AbortSignal | undefined;
  onAbort: (() => void) | undefined;
}

export class Peer {
  /** Resolves when both hellos were exchanged; rejects when the connection ends before. */
  readonly ready: Promise<void>;
  /** Resolves when the connection has ended: with the error, or undefined after a clean end. */
  readonly closed: Promise<PyisolateError | undefined>;

  readonly #transport: Transport;
  readonly #methods: Readonly<Record<string, Method>>;
  readonly #options: PeerOptions;
  readonly #codec: ValueCodec;
  readonly #session: Session<Ticket>;
  readonly #outbox: Outbox;
  readonly #intake: Intake;
  readonly #contexts = new Map<number, Context>();
  readonly #alarm = new Alarm((nowMs) => this.#endOverdue(nowMs));
  #isPongOwed = false;
  /** Why no more calls can be made; set once. */
  #ended: PyisolateError | undefined;
  #resolveReady!: () => void;
  #rejectReady!: (error: PyisolateError) => void;
  #resolveClosed!: (error: PyisolateError | undefined) => void;

  constructor(options: PeerOptions) {
    const { transport, methods = {}, extension, limits = {}, isLossless = false } = options;
    this.#options = options;
    this.#transport = transport;
    this.#methods = methods;
    this.#codec = new ValueCodec({ extension, isLossless });
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.ready.catch(() => {}); // whoever awaits it still gets the error
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });

    this.#outbox = new Outbox(transport);
    this.#session = new Session(
      { limits: { ...DEFAULT_LIMITS, ...limits }, codec: this.#codec, isStoppable: options.onStop !== undefined },
      this.#owner(),
    );
    this.#intake = new Intake({
      sink: this.#session,
      transport,
      onFault: (error) => this.#fault(error),
      onEnd: (isInsideFrame, error) => this.#streamEnded(isInsideFrame, error),
    });
    transport.start({
      onData: (chunk) => this.#intake.push(chunk),
      onDrain: () => this.#drained(),
      onEnd: (error) => this.#intake.end(error),
    });
    this.#session.open();
  }

  /**
   * Calls a method of the other side. The bytes of arguments are borrowed until the promise settles.
   *
   * Rejects with CALL_TIMEOUT, CALL_CANCELLED, VALUE_UNSUPPORTED, PEER_BROKEN, PEER_CLOSED, PROTOCOL_VIOLATION,
   * what the other side raised (its code where that is one of ours, else REMOTE_ERROR), or what `onEvent` raised.
   */
  call(method: string, args: Value[], options: CallOptions = {}): Promise<Value> {
    return new Promise((resolve, reject) => {
      const { timeoutMs, signal, onEvent, transfer } = options;
      if (this.#ended !== undefined) throw this.#ended;
      if (signal?.aborted) throw cancelled(method, signal);
      const attachments = new OutgoingAttachments();
      const body = callBody(method, args, this.#codec, attachments);
      if (transfer !== undefined) {
        transfer.bytesCopied = attachments.bytesCopied;
        transfer.routes = attachments.routes;
      }
      const endMs = timeoutMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
      const onAbort = undefined;
      const ticket: Ticket = { method, resolve, reject, onEvent, isSettled: false, timeoutMs, endMs, signal, onAbort };
      this.#alarm.setFor(endMs);
      if (signal !== undefined) {
        ticket.onAbort = () => this.#abandon(ticket, cancelled(method, signal));
        signal.addEventListener("abort", ticket.onAbort, { once: true });
      }
      this.#session.call(ticket, body, timeoutMs);
    });
  }

  /** Asks the other side, which must be a worker, to finish and exit. */
  stop(): void {
    if (this.#ended === undefined) this.#session.stop();
  }

  /** Ends the connection after what was sent has left; calls in flight reject with PEER_CLOSED. */
  close(): void {
    if (this.#ended !== undefined) return;
    this.#transport.close();
    this.#end(new PyisolateError("PEER_CLOSED", "the connection was closed by this side"), undefined);
  }

  #endOverdue(nowMs: number): void {
    for (const ticket of this.#session.tickets()) {
      if (ticket.isSettled) continue;
      if (ticket.endMs > nowMs) this.#alarm.setFor(ticket.endMs);
      else {
        const message = `"${ticket.method}" gave no result within ${ticket.timeoutMs} ms`;
        this.#abandon(ticket, new PyisolateError("CALL_TIMEOUT", message));
      }
    }
  }

  /** The caller is told at once; the id stays live until the other side answers. */
  #abandon(ticket: Ticket, error: unknown): void {
    settle(ticket);
    ticket.reject(error);
    this.#session.cancel(ticket);
  }

  /** What a listener raises is the caller's own: it ends that call and nothing else. */
  #notify(ticket: Ticket, event: EventName, data: Value): void {
    if (ticket.isSettled) return;
    try {
      ticket.onEvent?.(event, data);
    } catch (error) {
      this.#abandon(ticket, error);
    }
  }

  #owner(): SessionOwner<Ticket> {
    return {
      send: (message) => this.#outbox.send(message),
      hasRoom: () => this.#outbox.hasRoom,
      remainingMs: ({ timeoutMs, endMs }) =>
        timeoutMs === undefined ? undefined : Math.max(0, Math.round(endMs - performance.now())),
      opened: () => this.#resolveReady(),
      called: (id, method, args) => this.#run(id, method, args),
      cancelled: (id) => this.#contexts.get(id)?.abort(),
      answered: (ticket, value, isLast) => {
        if (isLast && settle(ticket)) ticket.resolve(value);
      },
      failed: (ticket, error) => {
        if (settle(ticket)) ticket.reject(remoteError(ticket.method, error));
      },
      notified: (ticket, event, data) => this.#notify(ticket, event, data),
      refused: (ticket, error) => {
        if (settle(ticket)) ticket.reject(error);
      },
      released: (id) => this.#options.extension?.onRelease?.(id),
      pinged: () => this.#pong(),
      stopped: () => this.#options.onStop?.(),
    };
  }

  #run(id: number, name: string, args: Value[]): void {
    const method = Object.hasOwn(this.#methods, name) ? this.#methods[name] : undefined;
    if (method === undefined) {
      const offered = Object.keys(this.#methods).join(", ") || "none";
      this.#fail(id, new PyisolateError("METHOD_UNKNOWN", `no method "${name}"; there are: ${offered}`));
      return;
    }
    const context = new Context((event, data) => {
      if (this.#contexts.get(id) === context) this.#session.notify(id, eventBody(event, data, this.#codec));
    });
    this.#contexts.set(id, context);
    // The promise comes from our own function, so neither a throw nor a rejection escapes.
    void runMethod(method, args, context).then(
      (value) => this.#answer(id, context, () => this.#session.result(id, resultBody(value, this.#codec))),
      (error: unknown) =>
        this.#answer(id, context, () => this.#fail(id, context.isAborted ? asCancelled(error) : error)),
    );
  }

  #answer(id: number, context: Context, send: () => void): void {
    if (this.#contexts.get(id) !== context) return; // the connection has ended
    this.#contexts.delete(id);
    try {
      send();
    } catch (error) {
      this.#fail(id, error); // the result has no form on the wire
    }
  }

  #fail(id: number, error: unknown): void {
    this.#session.error(id, errorText(error));
  }

  /** A peer that pings without reading gets one pong when it reads again. */
  #pong(): void {
    this.#isPongOwed = !this.#outbox.hasRoom;
    if (!this.#isPongOwed) this.#session.pong();
  }

  #drained(): void {
    if (this.#ended !== undefined) return;
    this.#outbox.drain();
    if (this.#isPongOwed) this.#pong();
    this.#session.startWaiting();
  }

  /** The peer broke the protocol, or code of this side that handles frames raised. */
  #fault(error: unknown): void {
    this.#transport.destroy();
    const fault = error instanceof PyisolateError ? error : broken("reading from the peer failed", error);
    this.#end(fault, fault);
  }

  #streamEnded(isInsideFrame: boolean, cause: Error | undefined): void {
    this.#transport.close();
    const isClean = cause === undefined && !isInsideFrame && !this.#session.isBusy;
    const where = isInsideFrame ? "in the middle of a frame" : this.#session.isBusy ? "with calls in flight" : "";
    const error = broken(`the connection ended from the other side ${where}`.trimEnd(), cause);
    this.#end(error, isClean ? undefined : error);
  }

  #end(forCalls: PyisolateError, outcome: PyisolateError | undefined): void {
    if (this.#ended !== undefined) return;
    this.#ended = forCalls;
    this.#intake.close();
    this.#alarm.clear();
    for (const ticket of this.#session.tickets()) if (settle(ticket)) ticket.reject(forCalls);
    const contexts = [...this.#contexts.values()];
    this.#contexts.clear();
    for (const context of contexts) context.abort();
    this.#rejectReady(forCalls);
    this.#resolveClosed(outcome);
  }
}

/** What a running method gets. The signal is made when it is asked for. */
class Context implements CallContext {
  readonly event: CallContext["event"];
  #controller: AbortController | undefined;
  isAborted = false;

  constructor(event: CallContext["event"]) {
    this.event = event;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.isAborted) this.#controller.abort();
    return this.#controller.signal;
  }

  abort(): void {
    this.isAborted = true;
    this.#controller?.abort();
  }
}

async function runMethod(method: Method, args: Value[], context: CallContext): Promise<Value> {
  return method(args, context);
}

/** Ends the caller's side of a call, once; false: it had ended. */
function settle(ticket: Ticket): boolean {
  if (ticket.isSettled) return false;
  ticket.isSettled = true;
  if (ticket.onAbort !== undefined) ticket.signal?.removeEventListener("abort", ticket.onAbort);
  return true;
}

function cancelled(method: string, signal: AbortSignal): PyisolateError {
  return new PyisolateError("CALL_CANCELLED", `"${method}" was cancelled by the caller`, {}, signal.reason);
}

/** The answer to a call that was cancelled and whose method raised. */
function asCancelled(cause: unknown): PyisolateError {
  return new PyisolateError("CALL_CANCELLED", "the method stopped because its call was cancelled", {}, cause);
}

function broken(message: string, cause: unknown): PyisolateError {
  return new PyisolateError(
    "PEER_BROKEN",
    message,
    { next: "See the log of the other process for why it ended." },
    cause,
  );
}

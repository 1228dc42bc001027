// Peer: calls as promises, over one connection. Symmetric: both sides call, both offer methods. Mirrors peer.py.
// Composes: transport → intake → session → callee and caller → session → outbox → transport.
// Closed = this side ended it, broken = the world did, remote = the other side's code raised.
// Must not know containers or tensors.

import { PyisolateError } from "../errors.ts";
import { Callee, type Method } from "./callee.ts";
import { Caller, type CallOptions, type Ticket } from "./caller.ts";
import { Intake } from "./intake.ts";
import { DEFAULT_LIMITS, type Limits, PACE } from "./kinds.ts";
import { Outbox } from "./outbox.ts";
import { Session, type SessionOwner } from "./session.ts";
import type { Transport } from "./transport.ts";
import { type Segment, type Value, ValueCodec, type ValueExtension } from "./values.ts";

export type { CallContext, Method } from "./callee.ts";
export type { CallOptions, Transfer } from "./caller.ts";

export interface PeerOptions {
  /** Owned by the peer from here on. */
  readonly transport: Transport;
  /** What the other side may call. */
  readonly methods?: Readonly<Record<string, Method>>;
  readonly extension?: ValueExtension;
  /** What this side can do beyond the version, e.g. "segments"; used when the other side names it, too. */
  readonly features?: readonly string[];
  readonly limits?: Partial<Limits>;
  /** Floats of the other side without fraction come as Float, so that they can be sent on unchanged. */
  readonly isLossless?: boolean;
  /** Makes this side a worker: what to do when the other side sends stop. Absent: stop is a violation. */
  readonly onStop?: () => void;
  /** How long a call may go on after it was cancelled, or ran out of time, before its `onStuck` is told; 5000. */
  readonly stuckMs?: number | undefined;
}

export class Peer {
  /** Resolves when both hellos were exchanged; rejects when the connection ends before. */
  readonly ready: Promise<void>;
  /** Resolves when the connection has ended: with the error, or undefined after a clean end. */
  readonly closed: Promise<PyisolateError | undefined>;

  readonly #transport: Transport;
  readonly #options: PeerOptions;
  readonly #extension: ValueExtension | undefined;
  readonly #session: Session<Ticket>;
  readonly #caller: Caller;
  readonly #callee: Callee;
  readonly #outbox: Outbox;
  readonly #intake: Intake;
  #isPongOwed = false;
  #resolveReady!: () => void;
  #rejectReady!: (error: PyisolateError) => void;
  #resolveClosed!: (error: PyisolateError | undefined) => void;

  constructor(options: PeerOptions) {
    const { transport, methods = {}, extension, features = [], limits = {}, isLossless = false } = options;
    const { stuckMs = PACE.stuckMs } = options;
    this.#options = options;
    this.#transport = transport;
    this.#extension = extension;
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.ready.catch(() => {}); // whoever awaits it still gets the error
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });

    const codec = new ValueCodec({ extension, isLossless });
    const isStoppable = options.onStop !== undefined;
    const session = new Session(
      { limits: { ...DEFAULT_LIMITS, ...limits }, codec, isStoppable, features },
      this.#owner(),
    );
    this.#session = session;
    this.#outbox = new Outbox(transport);
    this.#caller = new Caller({ session, codec, extension, stuckMs });
    this.#callee = new Callee({ session, codec, extension, methods, hasRoom: () => this.#outbox.hasRoom });
    this.#intake = new Intake({
      sink: session,
      transport,
      onFault: (error) => this.#fault(error),
      onEnd: (isInsideFrame, error) => this.#streamEnded(isInsideFrame, error),
    });
    transport.start({
      onData: (chunk) => this.#intake.push(chunk),
      onDrain: () => this.#drained(),
      onEnd: (error) => this.#intake.end(error),
    });
    session.open();
  }

  /**
   * Calls a method of the other side. The bytes of arguments are borrowed until the promise settles.
   *
   * Rejects with CALL_TIMEOUT, CALL_CANCELLED, VALUE_UNSUPPORTED, PEER_BROKEN, PEER_CLOSED, PROTOCOL_VIOLATION,
   * what the other side raised (its code where that is one of ours, else REMOTE_ERROR), what `onEvent` raised, or what
   * the extension says when it cannot prepare the arguments.
   */
  call(method: string, args: Value[], options: CallOptions = {}): Promise<Value> {
    return this.#caller.call(method, args, options);
  }

  /**
   * Calls a method that gives a stream: the items in order, then the last value as the iterator's return value.
   *
   * The call begins with the first `next`; leaving the loop cancels it. The other side sends `limits.items` items ahead
   * of those that were taken. `timeoutMs` is for the whole of it. Rejects as `call` does.
   */
  callStream(method: string, args: Value[], options: CallOptions = {}): AsyncIterableIterator<Value, Value> {
    return this.#caller.stream(method, args, options);
  }

  /** Whether both sides name the feature; false before `ready`. */
  hasFeature(name: string): boolean {
    return this.#session.hasFeature(name);
  }

  /**
   * Gives the other side, a worker, a segment of shared memory, and its id. `onReleased` is called once: when the
   * worker has released it, or when the connection ends. Raises what ended the connection, or VALUE_UNSUPPORTED when
   * the feature "segments" is not on; then it is not called.
   */
  attach(segment: Segment, onReleased: () => void): number {
    if (this.#caller.ended !== undefined) throw this.#caller.ended;
    return this.#session.attach(segment, onReleased);
  }

  /** Asks the worker to release a segment; nothing happens when it has. */
  giveBack(id: number): void {
    this.#session.giveBack(id);
  }

  /** Worker only: nothing here uses the segment of this id any more. */
  release(id: number): void {
    this.#session.release(id);
  }

  /** Asks the other side, which must be a worker, to finish and exit. */
  stop(): void {
    if (this.#caller.ended === undefined) this.#session.stop();
  }

  /** Ends the connection after what was sent has left; calls in flight reject with PEER_CLOSED. */
  close(): void {
    if (this.#caller.ended !== undefined) return;
    this.#transport.close();
    this.#end(new PyisolateError("PEER_CLOSED", "the connection was closed by this side"), undefined);
  }

  /** Ends the connection at once because the other side broke a rule elsewhere; calls in flight reject with `error`. */
  fail(error: PyisolateError): void {
    this.#fault(error);
  }

  #owner(): SessionOwner<Ticket> {
    return {
      send: (message) => this.#outbox.send(message),
      hasRoom: () => this.#outbox.hasRoom,
      remainingMs: (ticket) => this.#caller.remainingMs(ticket),
      opened: () => this.#resolveReady(),
      called: (id, method, args) => this.#callee.run(id, method, args),
      cancelled: (id) => this.#callee.cancelled(id),
      moreWanted: (id) => this.#callee.moreWanted(id),
      answered: (ticket, value, isLast, id) => this.#caller.answered(ticket, value, isLast, id),
      failed: (ticket, error) => this.#caller.failed(ticket, error),
      notified: (ticket, event, data) => this.#caller.notified(ticket, event, data),
      refused: (ticket, error) => this.#caller.refused(ticket, error),
      attached: (id, segment) => this.#extension?.onAttach?.(id, segment),
      wantedBack: (id) => this.#extension?.onGiveBack?.(id),
      pinged: () => this.#pong(),
      stopped: () => this.#options.onStop?.(),
    };
  }

  /** A peer that pings without reading gets one pong when it reads again. */
  #pong(): void {
    this.#isPongOwed = !this.#outbox.hasRoom;
    if (!this.#isPongOwed) this.#session.pong();
  }

  #drained(): void {
    if (this.#caller.ended !== undefined) return;
    this.#outbox.drain();
    if (this.#isPongOwed) this.#pong();
    this.#session.startWaiting();
    this.#callee.drained();
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
    if (this.#caller.ended !== undefined) return;
    this.#intake.close();
    this.#caller.close(forCalls);
    this.#session.close();
    this.#callee.close();
    this.#rejectReady(forCalls);
    this.#resolveClosed(outcome);
  }
}

function broken(message: string, cause: unknown): PyisolateError {
  return new PyisolateError(
    "PEER_BROKEN",
    message,
    { next: "See the log of the other process for why it ended." },
    cause,
  );
}

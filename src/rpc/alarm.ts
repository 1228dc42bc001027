// Alarm: one timer for many times to come, because making and clearing a timer costs a tenth of a small call.
// Must not know calls. Keeps no process alive.

// setTimeout fires at once beyond this.
const maxDelayMs = 2 ** 31 - 1;

export class Alarm {
  readonly #ring: (nowMs: number) => void;
  #timer: NodeJS.Timeout | undefined;
  /** When it rings next. */
  #atMs = Number.POSITIVE_INFINITY;

  /** `ring` is called now and then; it sets the alarm again for what is still to come. */
  constructor(ring: (nowMs: number) => void) {
    this.#ring = ring;
  }

  /** Rings at `atMs` of performance.now(), perhaps also before. */
  setFor(atMs: number): void {
    if (atMs >= this.#atMs) return;
    clearTimeout(this.#timer);
    this.#atMs = atMs;
    const delayMs = Math.min(Math.ceil(atMs - performance.now()), maxDelayMs);
    this.#timer = setTimeout(() => {
      this.#atMs = Number.POSITIVE_INFINITY;
      this.#ring(performance.now());
    }, delayMs).unref();
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#atMs = Number.POSITIVE_INFINITY;
  }
}

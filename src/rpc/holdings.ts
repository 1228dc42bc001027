// Holdings: what of one connection outlives its calls. Leases and segments of this side, until the peer releases them,
// and those of the peer that this side uses. A part of the session's state; nobody else changes it.
// Must not know frames or memory.

type Theirs = "lease" | "segment" | "wanted back";

export class Holdings {
  /** What to call when the peer no longer uses it, by id. */
  readonly #ours = new Map<number, () => void>();
  readonly #theirs = new Map<number, Theirs>();

  hasOurs(id: number): boolean {
    return this.#ours.has(id);
  }

  addOurs(id: number, onEnd: () => void): void {
    this.#ours.set(id, onEnd);
  }

  /** Ends a lease or segment of this side; nothing happens when it has ended. */
  endOurs(id: number): void {
    const onEnd = this.#ours.get(id);
    this.#ours.delete(id);
    onEnd?.();
  }

  endAllOurs(): void {
    for (const id of [...this.#ours.keys()]) this.endOurs(id);
  }

  hasTheirs(id: number): boolean {
    return this.#theirs.has(id);
  }

  addTheirs(id: number, what: "lease" | "segment"): void {
    this.#theirs.set(id, what);
  }

  /** false: this side did not use it. */
  removeTheirs(id: number): boolean {
    return this.#theirs.delete(id);
  }

  /** The peer wants a segment back; false: it is none that is here, or was wanted before. */
  wantBack(id: number): boolean {
    const isHere = this.#theirs.get(id) === "segment";
    if (isHere) this.#theirs.set(id, "wanted back");
    return isHere;
  }
}

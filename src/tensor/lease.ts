// Lease: who holds a segment, until when. A holding has owners: a tensor, an array taken from it, a lease of a message.
// It ends when the last of them has let go or is garbage. Must not know where segments come from.

/** One use of a segment. */
export class Holding<Segment = unknown> {
  readonly segment: Segment;
  readonly #onEnd: () => void;
  #ownerCount = 0;

  /** `onEnd` is called once. */
  constructor(segment: Segment, onEnd: () => void) {
    this.segment = segment;
    this.#onEnd = onEnd;
  }

  /** One more owner; gives what that one calls, once, to let go. */
  own(): () => void {
    this.#ownerCount += 1;
    return () => {
      this.#ownerCount -= 1;
      if (this.#ownerCount === 0) this.#onEnd();
    };
  }

  /** `owner` is one until it is garbage; gives how to let go sooner, once. The holding must not lead to it. */
  ownFor(owner: object): () => void {
    const end = this.own();
    garbage.register(owner, end, end);
    return () => {
      garbage.unregister(end);
      end();
    };
  }
}

const garbage = new FinalizationRegistry<() => void>((end) => end());

// Echo: the limit of a call. Node `net` and a Python send each other the same JSON text, one line each way.

import type { Socket } from "node:net";

/** About as long as a small call and its result. */
const message = {
  method: "execute",
  args: ["NoOp", {}],
  timeoutMs: 300_000,
  padding: "x".repeat(100),
};

export class EchoClient {
  readonly #connection: Socket;
  /** Who waits for a line, in the order of what was sent. */
  readonly #waiting: ((value: unknown) => void)[] = [];
  #received = "";

  constructor(connection: Socket) {
    this.#connection = connection;
    connection.on("data", (chunk: Buffer) => this.#take(chunk)).resume();
  }

  roundTrip(): Promise<unknown> {
    return this.#send(message);
  }

  /** Moves the Python side to one CPU. */
  async pin(cpu: number): Promise<void> {
    await this.#send({ cpu });
  }

  #send(value: unknown): Promise<unknown> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#connection.write(`${JSON.stringify(value)}\n`);
    });
  }

  #take(chunk: Buffer): void {
    this.#received += chunk.toString();
    if (!this.#received.endsWith("\n")) return;
    const lines = this.#received.slice(0, -1).split("\n");
    this.#received = "";
    for (const line of lines) this.#waiting.shift()?.(JSON.parse(line));
  }
}

// What the tensor suite asks of a host, whichever language it is written in and whatever route its tensors take.

export type Route = "descriptor" | "path" | "inline";

/** One call of a node of tests/contract/tensor-pack with one input made by `ramp`. */
export interface Job {
  readonly node: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The input is made in memory that the pack reads where it lies. */
  readonly isShared?: boolean;
}

export interface Outcome {
  /** Of a tensor: dtype, shape and the sha256 of its elements in C order. Of anything else: the value. */
  readonly output: { readonly dtype: string; readonly shape: readonly number[]; readonly sha256: string } | unknown;
  /** Tensor bytes copied to bring the node its input, and the route it took. */
  readonly bytesCopied: number;
  readonly route: string;
  /** The sha256 of the input when the call has ended. */
  readonly inputAfter: string;
}

export interface Host {
  /** Rejects with an error whose message names the code. */
  run(job: Job): Promise<Outcome>;
  /** Bytes of segments that somebody still uses, when everything that can be dropped was dropped. */
  bytesInUse(): Promise<number>;
  /** Ends the worker, then the host. Gives the descriptors and files of shared memory that are left. */
  close(): Promise<readonly string[]>;
}

/** Element bytes that both languages make alike: byte k is k % 251, or for bool k % 2. */
export function ramp(dtype: string, bytes: number): Uint8Array {
  const modulus = dtype === "bool" ? 2 : 251;
  return Uint8Array.from({ length: bytes }, (_, index) => index % modulus);
}

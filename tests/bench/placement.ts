// Placement: where host and pack of a contestant run; all contestants alike.

import { allowCpus, allowedCpus } from "./affinity.ts";

export interface Placement {
  readonly label: string;
  /** undefined: wherever the scheduler puts them. It tends to leave them where they happen to be. */
  readonly pin?: { readonly hostCpu: number; readonly packCpu: number };
}

/** Runs `use` under each placement this machine has, and lets this process go where it may afterwards. */
export async function underPlacements(
  say: (line: string) => void,
  use: (placement: Placement) => Promise<void>,
): Promise<void> {
  const cpus = allowedCpus();
  if (cpus.length === 0) say("· no taskset on this machine: the variants on chosen CPUs are left out");
  try {
    for (const placement of placementsOn(cpus)) {
      if (placement.pin !== undefined) allowCpus([placement.pin.hostCpu]);
      await use(placement);
    }
  } finally {
    if (cpus.length > 0) allowCpus(cpus);
  }
}

function placementsOn(cpus: readonly number[]): readonly Placement[] {
  const [first, second] = cpus;
  return [
    { label: "any CPU" },
    ...(first === undefined ? [] : [{ label: "one CPU", pin: { hostCpu: first, packCpu: first } }]),
    ...(second === undefined || first === undefined
      ? []
      : [{ label: "two CPUs", pin: { hostCpu: first, packCpu: second } }]),
  ];
}

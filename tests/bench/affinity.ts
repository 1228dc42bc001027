// Affinity: which CPUs the bench itself may use, by util-linux's taskset (Node has no call for it).

import { spawnSync } from "node:child_process";

/** The CPUs this process may use; none where there is no taskset. */
export function allowedCpus(): readonly number[] {
  const { status, stdout } = spawnSync("taskset", ["-p", "-c", String(process.pid)], { encoding: "utf8" });
  return status === 0 ? parseCpus(stdout.trim().split(" ").at(-1) ?? "") : [];
}

/** "0,2-4" as 0, 2, 3, 4. */
export function parseCpus(list: string): readonly number[] {
  return list.split(",").flatMap((part) => {
    const [first = 0, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/** Moves every thread of this process. */
export function allowCpus(cpus: readonly number[]): void {
  const args = ["-a", "-p", "-c", cpus.join(","), String(process.pid)];
  const { status, stderr } = spawnSync("taskset", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`taskset ${args.join(" ")} ended with ${status}, expected 0: ${stderr}`);
}

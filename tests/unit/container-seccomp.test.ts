// The profile's text: what it must and must not name. That it works is shown in tests/contract/container-sandbox.test.ts.

import { expect, test } from "vitest";
import { readSeccompProfile } from "../../src/container/seccomp.ts";

interface Rule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args: readonly { readonly index: number; readonly value: number; readonly op: string }[];
}
const profile = JSON.parse(readSeccompProfile()) as { defaultAction: string; syscalls: readonly Rule[] };
const allowed = new Set(
  profile.syscalls.filter((rule) => rule.action === "SCMP_ACT_ALLOW").flatMap((rule) => rule.names),
);

test("what is not listed is refused", () => {
  expect(profile.defaultAction).toBe("SCMP_ACT_ERRNO");
});

test.each(
  (
    "io_uring_setup ptrace process_vm_readv pidfd_getfd bpf perf_event_open userfaultfd add_key keyctl mount umount2 " +
    "pivot_root chroot setns unshare open_by_handle_at shmget semget msgget mq_open kexec_load init_module reboot clone3"
  ).split(" "),
)("%s is not allowed", (name) => {
  expect(allowed).not.toContain(name);
});

test.each(["clone", "socket", "socketpair", "personality"])("%s is allowed only with checked arguments", (name) => {
  const rules = profile.syscalls.filter((rule) => rule.names.includes(name));
  expect(rules.length).toBeGreaterThan(0);
  for (const rule of rules) expect(rule.args).toHaveLength(1);
});

test("clone3 is ENOSYS, so that the C library falls back to clone", () => {
  const rule = profile.syscalls.find(({ names }) => names.includes("clone3"));
  expect(rule).toMatchObject({ action: "SCMP_ACT_ERRNO", errnoRet: 38 });
});

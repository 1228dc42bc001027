// Seccomp: our own allow-list of system calls, in the form the engine takes. Replaces the engine's profile.
//
// Rule: seccomp.json lists what Python, numpy, OpenCV, torch, threads, subprocess, asyncio and multiprocessing use;
// everything else fails with EPERM. Only x86-64 and arm64: 32-bit and x32 calls are refused by the kernel.
// Left out on purpose, though harmless-looking or allowed by the engine's own profile:
//   io_uring_*                          a second way to do nearly every call, past this filter; many kernel bugs
//   ptrace, process_vm_*, process_madvise, pidfd_getfd, kcmp    reach into other processes
//   bpf, perf_event_open, userfaultfd   kernel programs, side channels, race helpers
//   add_key, keyctl, request_key        keyrings are not namespaced
//   mount*, umount2, move_mount, fs*, open_tree, pivot_root, chroot, setns, unshare    the walls themselves
//   open_by_handle_at, name_to_handle_at    open files outside the container's tree
//   shmget…, semget…, msgget…, mq_*     System V and POSIX queues: Python's multiprocessing uses /dev/shm files
//   kexec_*, *_module, reboot, swap*, quotactl*, acct, settimeofday and the like    the machine's, not a pack's
//   vmsplice, io_submit…, mbind…        unused here, with a history of bugs
// Filtered by argument:
//   clone        without any CLONE_NEW* flag (0x7e020000); clone3 hides its flags in memory, so it is ENOSYS
//                and the C library falls back to clone
//   socket, socketpair    AF_UNIX (1), AF_INET (2), AF_INET6 (10): no netlink, packet, vsock, kernel crypto
//   personality  only 0 and the query 0xffffffff

import { readFileSync } from "node:fs";

/** The profile as JSON text. */
export function readSeccompProfile(): string {
  return readFileSync(new URL("./seccomp.json", import.meta.url), "utf8");
}

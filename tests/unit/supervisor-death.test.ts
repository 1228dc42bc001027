import { expect, test } from "vitest";
import { deathError, type PackDeath } from "../../src/supervisor/death.ts";

const MiB = 1024 * 1024;

function death(changes: Partial<PackDeath>): PackDeath {
  return {
    pack: "blur",
    phase: "executing",
    exit: { exitCode: 1, oomKilled: false },
    limits: { max_memory: 1536 * MiB },
    logTail: [],
    nodeIds: ["Blur"],
    ...changes,
  };
}

test("killed for memory: status 137 and the kernel's mark together", () => {
  const error = deathError(death({ exit: { exitCode: 137, oomKilled: true } }));
  expect(error.code).toBe("PACK_OUT_OF_MEMORY");
  expect(error.message).toBe(
    'pack "blur" used more than its max_memory of 1.5 GB while it was running node "Blur" and was killed',
  );
  expect(error.details.next).toContain("max_memory");
});

test("out of memory before hello is out of memory too", () => {
  const error = deathError(death({ phase: "starting", exit: { exitCode: 137, oomKilled: true } }));
  expect(error.code).toBe("PACK_OUT_OF_MEMORY");
});

test("killed by somebody: status 137 alone names the signal, not the memory", () => {
  const error = deathError(death({ exit: { exitCode: 137, oomKilled: false } }));
  expect(error.code).toBe("PACK_DIED");
  expect(error.message).toContain("signal SIGKILL (exit code 137)");
  expect(error.message).not.toContain("memory");
});

test("a child killed for memory: the pack's own exit code, and what happened to the child", () => {
  const error = deathError(death({ exit: { exitCode: 3, oomKilled: true } }));
  expect(error.code).toBe("PACK_DIED");
  expect(error.message).toContain(
    "exit code 3; the kernel killed one of its child processes for using more than 1.5 GB",
  );
  expect(error.details.next).toContain("max_memory");
});

test("ended before hello: exit code, last words and the log", () => {
  const logTail = ["starting", "ModuleNotFoundError: No module named 'pyisolate'", ""];
  const error = deathError(death({ phase: "starting", exit: { exitCode: 1, oomKilled: false }, logTail }));
  expect(error.code).toBe("PACK_START_FAILED");
  expect(error.message).toBe(
    `pack "blur" ended before it said hello with exit code 1; it last printed: ModuleNotFoundError: No module named 'pyisolate'`,
  );
  expect(error.details).toMatchObject({ exitCode: 1, logTail });
});

test("every phase and several nodes are told apart", () => {
  expect(deathError(death({ phase: "loading" })).message).toContain("while it was importing its module");
  expect(deathError(death({ phase: "idle" })).message).toContain("while it was idle");
  expect(deathError(death({ nodeIds: ["A", "B"] })).message).toContain('nodes "A", "B"');
});

test("a crash in native code says so in the next step", () => {
  const error = deathError(death({ exit: { exitCode: 139, oomKilled: false } }));
  expect(error.message).toContain("SIGSEGV");
  expect(error.details.next).toContain("Native code crashed");
});

test("an engine that cannot say how still gives an error with a next step", () => {
  const error = deathError(death({ exit: undefined }));
  expect(error.message).toContain("the engine does not say how");
  expect(error.details.next).toBeTruthy();
});

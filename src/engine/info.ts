// Info: what an engine answers about itself → EngineInfo, and whether we can work with it. Pure.
// Anything may listen on a socket: no field is taken for granted.

import { PyisolateError } from "../errors.ts";
import type { EngineInfo } from "./engine.ts";

/** API version of Docker Engine 20.10, the first with the BuildKit and cgroup features we use. */
const minimumApi = [1, 41] as const;

/** Answers to `GET /version` and `GET /info`, as they came. */
export interface EngineAnswers {
  readonly version: unknown;
  readonly info: unknown;
}

/** `where` names the engine, `kernel` is the release of this program's. Raises ENGINE_UNSUPPORTED. */
export function readEngineInfo(answers: EngineAnswers, where: string, kernel: string): EngineInfo {
  const version = mapping(answers.version, where, "/version");
  const info = mapping(answers.info, where, "/info");
  requireApi(text(version, "ApiVersion", where));
  requireKernel(version.KernelVersion, kernel);
  const cgroupDriver = text(info, "CgroupDriver", where);
  requireCgroups(cgroupDriver);
  const securityOptions = Array.isArray(info.SecurityOptions) ? info.SecurityOptions.map(String) : [];
  return {
    version: text(version, "Version", where),
    rootless: securityOptions.some((option) => option.includes("rootless")),
    cgroupVersion: info.CgroupVersion === "2" ? 2 : 1,
    cgroupDriver,
    securityOptions,
    runtimes: Object.keys(info.Runtimes ?? {}),
    memoryBytes: count(info, "MemTotal", where),
    cpus: count(info, "NCPU", where),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function mapping(answer: unknown, where: string, path: string): Fields {
  // What is no JSON comes as a Buffer or a text.
  const isObject = typeof answer === "object" && answer !== null && Object.getPrototypeOf(answer) === Object.prototype;
  if (isObject) return answer as Fields;
  throw notDocker(`${where} answers ${path} with something else than a JSON object`);
}

function text(fields: Fields, name: string, where: string): string {
  const value = fields[name];
  if (typeof value === "string" && value !== "") return value;
  throw notDocker(`${where} gives ${JSON.stringify(value) ?? "nothing"} as its ${name}, expected text`);
}

function count(fields: Fields, name: string, where: string): number {
  const value = fields[name];
  if (typeof value === "number" && value > 0) return value;
  throw notDocker(`${where} gives ${JSON.stringify(value) ?? "nothing"} as its ${name}, expected a number above 0`);
}

/** The error for an answer that is not Docker Engine's. */
export function notDocker(message: string, cause?: unknown): PyisolateError {
  return new PyisolateError(
    "ENGINE_UNSUPPORTED",
    message,
    { next: "Point DOCKER_HOST at the socket of a Docker Engine, as unix:///var/run/docker.sock is." },
    cause,
  );
}

function requireApi(api: string): void {
  const [major = Number.NaN, minor = 0] = api.split(".").map(Number);
  if (major > minimumApi[0] || (major === minimumApi[0] && minor >= minimumApi[1])) return;
  throw new PyisolateError(
    "ENGINE_UNSUPPORTED",
    `Docker Engine speaks API ${api}, expected ${minimumApi.join(".")} or later`,
    { next: "Install Docker Engine 20.10 or later." },
  );
}

/** An engine that does not name its kernel is told by the limits it enforces. */
function requireKernel(found: unknown, kernel: string): void {
  if (found === undefined || found === kernel) return;
  throw new PyisolateError(
    "ENGINE_UNSUPPORTED",
    `Docker Engine runs on kernel ${found}, this program on ${kernel}: sockets and shared memory do not cross kernels`,
    { next: "Use a Docker Engine on this very system, not one in a virtual machine (as Docker Desktop has)." },
  );
}

function requireCgroups(driver: string): void {
  if (driver !== "none") return;
  throw new PyisolateError("ENGINE_UNSUPPORTED", "Docker Engine has no cgroup driver, so it would ignore every limit", {
    next: "Rootless engines need cgroup v2 and systemd; otherwise use the system's engine.",
  });
}

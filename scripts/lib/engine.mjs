// Docker Engine: uses the one that answers; otherwise, as root on Debian or Ubuntu, installs and starts one.
// Only the scripts of this repository do this. The product itself (`pyisolate …`) never installs or starts an engine.

import { spawn } from "node:child_process";
import { accessSync, constants, existsSync, openSync, readFileSync } from "node:fs";
import { request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { runQuietly } from "./command.mjs";
import { SetupError, say } from "./say.mjs";

const packages = ["docker.io", "iptables"];
const engineLog = "/var/log/pyisolate-dockerd.log";
const startTimeoutMs = 60_000;

/** Makes sure that a Docker Engine answers this user. Raises SetupError with what to do where it may not be set up. */
export async function ensureEngine() {
  const socketPath = engineSocket(process.env.DOCKER_HOST);
  const answer = await ping(socketPath);
  if (answer === "ok") return;
  if (answer === "EACCES") {
    throw new SetupError(
      `Docker Engine is running, but this user may not use it (${socketPath}: permission denied).`,
      "Let an administrator add you to the group, then log in again:\n  sudo usermod -aG docker $USER",
    );
  }
  if (process.env.DOCKER_HOST) {
    throw new SetupError(
      `No Docker Engine answers at DOCKER_HOST=${process.env.DOCKER_HOST}.`,
      "Start that engine, or unset DOCKER_HOST to use this machine's own.",
    );
  }
  const commands = [
    ...(findProgram("dockerd")
      ? []
      : ["apt-get update", `apt-get install --no-install-recommends ${packages.join(" ")}`]),
    isSystemdRunning() ? "systemctl start docker" : "dockerd &",
  ];
  requireDebianFamily(commands);
  requireRoot("No Docker Engine answers on this machine, and setting one up needs root.", [
    ...commands,
    "usermod -aG docker USER   # USER: who will run this; they log in again afterwards",
  ]);
  say(`No Docker Engine answers on this machine. Setting one up as root:\n  ${commands.join("\n  ")}`);
  if (!findProgram("dockerd")) await installPackages(packages);
  await startEngine(socketPath);
}

/** Installs Debian packages, as root. A failing `update` is not the end: the lists at hand may do. */
export async function installPackages(names) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await runQuietly("apt-get update", "apt-get", ["update", "-q"], { env }).catch((error) => say(`  ${error.message}`));
  const args = ["install", "-q", "-y", "--no-install-recommends", ...names];
  await runQuietly(`apt-get install ${names.join(" ")}`, "apt-get", args, { env });
}

/** Raises SetupError with the commands unless this process is root. */
export function requireRoot(message, commands) {
  if (process.getuid() === 0) return;
  throw new SetupError(message, `Run these as root, then this command again:\n  ${commands.join("\n  ")}`);
}

async function startEngine(socketPath) {
  if (isSystemdRunning()) {
    await runQuietly("systemctl start docker", "systemctl", ["start", "docker"]);
  } else if ((await ping(socketPath)) !== "ok") {
    await startDaemon(socketPath);
  }
  if ((await ping(socketPath)) !== "ok") {
    throw new SetupError("systemd started docker, but it does not answer.", "See: journalctl -u docker");
  }
  const stop = isSystemdRunning() ? "systemctl stop docker" : "kill $(cat /var/run/docker.pid)";
  say(`✓ Docker Engine is running and stays running. To stop it: ${stop}`);
}

/** Starts dockerd outside systemd, for good, and waits until it answers. */
async function startDaemon(socketPath) {
  const log = openSync(engineLog, "a");
  const daemon = spawn("dockerd", [], { detached: true, stdio: ["ignore", log, log] });
  daemon.unref();
  const deadlineMs = performance.now() + startTimeoutMs;
  while ((await ping(socketPath)) !== "ok") {
    const hasEnded = daemon.exitCode !== null || daemon.signalCode !== null;
    if (hasEnded || performance.now() > deadlineMs) {
      const what = hasEnded ? "dockerd ended at once" : `dockerd did not answer within ${startTimeoutMs / 1000} s`;
      const tail = readFileSync(engineLog, "utf8").trimEnd().split("\n").slice(-5).join("\n");
      throw new SetupError(`${what}. Its last lines:\n${tail}`, `The whole log: ${engineLog}`);
    }
    await delay(100);
  }
}

/** "ok", or the code of what went wrong. */
function ping(socketPath) {
  return new Promise((resolve) => {
    const call = request({ socketPath, path: "/_ping", timeout: 5000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? "ok" : `status ${response.statusCode}`);
    });
    call.on("timeout", () => call.destroy(Object.assign(new Error("timeout"), { code: "ETIMEDOUT" })));
    call.on("error", (error) => resolve(error.code ?? error.message));
    call.end();
  });
}

function engineSocket(dockerHost) {
  if (!dockerHost) return "/var/run/docker.sock";
  if (dockerHost.startsWith("unix://")) return dockerHost.slice("unix://".length);
  throw new SetupError(
    `DOCKER_HOST=${dockerHost} is not on this machine; pyisolate shares sockets and memory with its containers.`,
    "Unset DOCKER_HOST, or set it to unix:///path/to/docker.sock.",
  );
}

/** Whether this machine's packages are Debian's or Ubuntu's. */
export function isDebianFamily() {
  return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(osRelease());
}

function osRelease() {
  return existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
}

function requireDebianFamily(commands) {
  if (isDebianFamily()) return;
  const name = /^PRETTY_NAME="?([^"\n]*)/m.exec(osRelease())?.[1] ?? "this system";
  throw new SetupError(
    `No Docker Engine answers, and on ${name} this script cannot install one (it knows Debian and Ubuntu).`,
    `Install Docker Engine 20.10 or later with your system's own tools and start it. On Debian that would be:\n  ${commands.join("\n  ")}`,
  );
}

function isSystemdRunning() {
  return existsSync("/run/systemd/system");
}

function findProgram(name) {
  return (process.env.PATH ?? "")
    .split(":")
    .concat("/usr/sbin")
    .some((folder) => isExecutable(`${folder}/${name}`));
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

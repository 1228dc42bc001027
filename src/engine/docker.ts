// Docker: connects to the engine of this machine and puts it behind Engine. dockerode is imported nowhere else, and only
// when a connection is asked for. Must not know manifests, packs or what the images are for.

import { release } from "node:os";
import type Docker from "dockerode";
import { PyisolateError } from "../errors.ts";
import { DockerContainers } from "./containers.ts";
import type { Engine, EngineInfo, EngineVolumes, Labels } from "./engine.ts";
import { asEngineError, isMissing } from "./failure.ts";
import { DockerImages, labelFilter } from "./images.ts";

/** API version of Docker Engine 20.10, the first with the BuildKit and cgroup features we use. */
const minimumApi = [1, 41] as const;
const defaultSocket = "/var/run/docker.sock";

export interface ConnectOptions {
  /** As in the DOCKER_HOST variable: only unix:// is on this machine. Default: the usual socket. */
  readonly dockerHost?: string | undefined;
}

/**
 * Connects to the engine and asks it once about itself.
 * Raises ENGINE_UNAVAILABLE, ENGINE_NOT_PERMITTED, ENGINE_UNSUPPORTED.
 */
export async function connectEngine(options: ConnectOptions = {}): Promise<Engine> {
  const socketPath = socketOf(options.dockerHost);
  const { default: DockerClient } = await import("dockerode");
  // `host: undefined` keeps dockerode from looking at DOCKER_HOST by itself.
  const client = new DockerClient({ socketPath, host: undefined });
  const engine: Engine = {
    info: () => readInfo(client, socketPath),
    images: new DockerImages(client),
    containers: new DockerContainers(client),
    volumes: new DockerVolumes(client),
  };
  await engine.info();
  return engine;
}

function socketOf(dockerHost: string | undefined): string {
  if (dockerHost === undefined || dockerHost === "") return defaultSocket;
  if (dockerHost.startsWith("unix://")) return dockerHost.slice("unix://".length) || defaultSocket;
  throw new PyisolateError(
    "ENGINE_UNSUPPORTED",
    `DOCKER_HOST is ${dockerHost}, expected unix://…: sockets and shared memory do not reach an engine on another machine`,
    { next: "Unset DOCKER_HOST, or set it to the socket of this machine's engine, unix:///var/run/docker.sock." },
  );
}

async function readInfo(client: Docker, socketPath: string): Promise<EngineInfo> {
  const [version, info] = await Promise.all([client.version(), client.info()]).catch((error: unknown) => {
    throw asEngineError(error, `Docker Engine at ${socketPath}`);
  });
  requireSupported(version.ApiVersion, version.KernelVersion, info.CgroupDriver);
  const securityOptions: readonly string[] = info.SecurityOptions ?? [];
  return {
    version: version.Version,
    rootless: securityOptions.some((option) => option.includes("rootless")),
    cgroupVersion: info.CgroupVersion === "2" ? 2 : 1,
    cgroupDriver: info.CgroupDriver,
    securityOptions,
    runtimes: Object.keys(info.Runtimes ?? {}),
    memoryBytes: info.MemTotal,
    cpus: info.NCPU,
  };
}

function requireSupported(api: string, kernel: string | undefined, cgroupDriver: string): void {
  const [major = 0, minor = 0] = api.split(".").map(Number);
  if (major < minimumApi[0] || (major === minimumApi[0] && minor < minimumApi[1])) {
    throw new PyisolateError(
      "ENGINE_UNSUPPORTED",
      `Docker Engine speaks API ${api}, expected ${minimumApi.join(".")} or later`,
      {
        next: "Install Docker Engine 20.10 or later.",
      },
    );
  }
  if (kernel !== undefined && kernel !== release()) {
    throw new PyisolateError(
      "ENGINE_UNSUPPORTED",
      `Docker Engine runs on kernel ${kernel}, this program on ${release()}: sockets and shared memory do not cross kernels`,
      { next: "Use a Docker Engine on this very system, not one in a virtual machine (as Docker Desktop has)." },
    );
  }
  if (cgroupDriver === "none") {
    throw new PyisolateError(
      "ENGINE_UNSUPPORTED",
      "Docker Engine has no cgroup driver, so it would ignore every limit",
      {
        next: "Rootless engines need cgroup v2 and systemd; otherwise use the system's engine.",
      },
    );
  }
}

class DockerVolumes implements EngineVolumes {
  readonly #client: Docker;

  constructor(client: Docker) {
    this.#client = client;
  }

  async ensure(name: string, labels: Labels): Promise<void> {
    await this.#client.createVolume({ Name: name, Labels: { ...labels } }).catch((error: unknown) => {
      throw asEngineError(error, `volume ${name}`);
    });
  }

  async list(labels: Labels): Promise<readonly string[]> {
    const { Volumes } = await this.#client.listVolumes({ filters: labelFilter(labels) }).catch((error: unknown) => {
      throw asEngineError(error, "list of volumes");
    });
    return Volumes.map((volume) => volume.Name);
  }

  async remove(name: string): Promise<void> {
    await this.#client
      .getVolume(name)
      .remove()
      .catch((error: unknown) => {
        if (!isMissing(error)) throw asEngineError(error, `volume ${name}`);
      });
  }
}

// Docker: connects to the engine of this machine and puts it behind Engine. dockerode is imported nowhere else, and only
// when a connection is asked for. Must not know manifests, packs or what the images are for.

import { release } from "node:os";
import type Docker from "dockerode";
import { PyisolateError } from "../errors.ts";
import { DockerContainers } from "./containers.ts";
import type { Engine, EngineInfo, EngineVolumes, Labels } from "./engine.ts";
import { asEngineError, isMissing, isNoAnswer } from "./failure.ts";
import { DockerImages, labelFilter } from "./images.ts";
import { notDocker, readEngineInfo } from "./info.ts";

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
  const info = await readInfo(client, socketPath);
  return {
    info: async () => info,
    images: new DockerImages(client),
    containers: new DockerContainers(client),
    volumes: new DockerVolumes(client),
  };
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
  const where = `Docker Engine at ${socketPath}`;
  const [version, info] = await Promise.all([client.version(), client.info()]).catch((error: unknown) => {
    throw isNoAnswer(error)
      ? notDocker(`what listens on ${socketPath} is no Docker Engine: ${(error as Error).message.trim()}`, error)
      : asEngineError(error, where);
  });
  return readEngineInfo({ version, info }, where, release());
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

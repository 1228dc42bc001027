// DockerContainers: the life of a container, on dockerode.

import type { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type Docker from "dockerode";
import { extract } from "tar-stream";
import type {
  ContainerSpec,
  ContainerState,
  ContainerSummary,
  EngineContainers,
  ExitStatus,
  Labels,
} from "./engine.ts";
import { asEngineError, isConflict, isMissing } from "./failure.ts";
import { toCreateOptions } from "./host-config.ts";
import { labelFilter } from "./images.ts";
import { joinLogBlocks } from "./stream.ts";

/** Exit status of a process that SIGKILL ended, by the kernel for memory or by anybody. */
const killedExitCode = 137;
const oomLookMs = 60;
/** A pack may print megabytes without a line break. */
const longestLogLine = 2000;

export class DockerContainers implements EngineContainers {
  readonly #client: Docker;

  constructor(client: Docker) {
    this.#client = client;
  }

  async create(spec: ContainerSpec): Promise<string> {
    const container = await this.#client
      .createContainer(toCreateOptions(spec))
      .catch(failure(`container of ${spec.image}`));
    return container.id;
  }

  async start(id: string): Promise<void> {
    await this.#client
      .getContainer(id)
      .start()
      .catch(failure(`start of container ${id}`));
  }

  async inspect(id: string): Promise<ContainerState | undefined> {
    try {
      const { Id, Image, Config, State } = await this.#client.getContainer(id).inspect();
      const hasEnded = !State.Running && State.Status !== "created";
      return {
        id: Id,
        imageId: Image,
        labels: Config.Labels ?? {},
        running: State.Running,
        pid: State.Pid,
        exit: hasEnded ? { exitCode: State.ExitCode, oomKilled: State.OOMKilled } : undefined,
      };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw asEngineError(error, `container ${id}`);
    }
  }

  async list(labels: Labels): Promise<readonly ContainerSummary[]> {
    const query = { all: true, filters: JSON.stringify(labelFilter(labels)) };
    const containers = await this.#client.listContainers(query).catch(failure("list of containers"));
    return containers.map(({ Id, ImageID, Labels, State }) => ({
      id: Id,
      imageId: ImageID,
      labels: Labels ?? {},
      running: State === "running",
    }));
  }

  async wait(id: string): Promise<ExitStatus> {
    const { StatusCode } = await this.#client
      .getContainer(id)
      .wait()
      .catch(failure(`end of container ${id}`));
    let state = await this.inspect(id);
    // The engine learns of the kernel's reason after the exit: 137 alone may be either.
    for (let looks = 0; StatusCode === killedExitCode && state?.exit?.oomKilled === false && looks < 3; looks++) {
      await sleep(oomLookMs);
      state = await this.inspect(id);
    }
    return { exitCode: StatusCode, oomKilled: state?.exit?.oomKilled ?? false };
  }

  async remove(id: string): Promise<void> {
    const container = this.#client.getContainer(id);
    try {
      await container.remove({ force: true, v: true });
    } catch (error) {
      if (isMissing(error)) return;
      if (!isConflict(error)) throw asEngineError(error, `removal of container ${id}`);
      // Somebody else is removing it: wait until that is done.
      await container.wait({ condition: "removed" }).catch((waited: unknown) => {
        if (!isMissing(waited)) throw asEngineError(waited, `removal of container ${id}`);
      });
    }
  }

  async logs(id: string, lines: number): Promise<readonly string[]> {
    const options = { stdout: true, stderr: true, tail: lines, follow: false } as const;
    const log = await this.#client
      .getContainer(id)
      .logs(options)
      .catch(failure(`log of container ${id}`));
    const text = joinLogBlocks(log).replace(/\n$/, "");
    return text === "" ? [] : text.split("\n").slice(-lines).map(shorten);
  }

  async readFile(id: string, path: string): Promise<Buffer> {
    const what = `${path} in container ${id}`;
    const archive = await this.#client.getContainer(id).getArchive({ path }).catch(failure(what));
    try {
      for await (const entry of archive.pipe(extract())) {
        if (entry.header.type !== "file") throw new Error(`is a ${entry.header.type}, expected a file`);
        const chunks: Buffer[] = [];
        for await (const chunk of entry) chunks.push(chunk as Buffer);
        return Buffer.concat(chunks);
      }
      throw new Error("is missing");
    } catch (error) {
      throw asEngineError(error, what);
    } finally {
      (archive as Readable).destroy(); // what is not read to its end would keep the program running
    }
  }
}

function shorten(line: string): string {
  return line.length > longestLogLine ? `${line.slice(0, longestLogLine)}…` : line;
}

function failure(what: string): (error: unknown) => never {
  return (error) => {
    throw asEngineError(error, what);
  };
}

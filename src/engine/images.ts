// DockerImages: inspect, pull, import, build and remove, on dockerode.

import type { Readable } from "node:stream";
import type Docker from "dockerode";
import { PyisolateError } from "../errors.ts";
import type { BuildOptions, EngineImages, ImageInfo, Labels, ProgressOptions } from "./engine.ts";
import { asEngineError, isConflict, isMissing } from "./failure.ts";
import { BuildProgressReader } from "./progress.ts";
import { readJsonLines } from "./stream.ts";

const logTailLines = 20;
/** A message names the step; `details.step` has it in full. */
const shownStepCharacters = 100;

export class DockerImages implements EngineImages {
  readonly #client: Docker;

  constructor(client: Docker) {
    this.#client = client;
  }

  async inspect(reference: string): Promise<ImageInfo | undefined> {
    try {
      const image = await this.#client.getImage(reference).inspect();
      return {
        id: image.Id,
        tags: image.RepoTags ?? [],
        labels: image.Config?.Labels ?? {},
        sizeBytes: image.Size,
        createdMs: Date.parse(image.Created),
      };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw asEngineError(error, `image ${reference}`);
    }
  }

  async list(labels: Labels): Promise<readonly ImageInfo[]> {
    const images = await this.#client
      .listImages({ filters: JSON.stringify(labelFilter(labels)) })
      .catch((error: unknown) => {
        throw asEngineError(error, "list of images");
      });
    return images.map((image) => ({
      id: image.Id,
      tags: (image.RepoTags ?? []).filter((tag) => tag !== "<none>:<none>"),
      labels: image.Labels ?? {},
      sizeBytes: image.Size,
      createdMs: image.Created * 1000,
    }));
  }

  async pull(reference: string, options: ProgressOptions = {}): Promise<void> {
    const { signal, onProgress } = options;
    try {
      const stream = await this.#client.pull(reference, signal === undefined ? {} : { abortSignal: signal });
      for await (const event of readJsonLines(stream)) {
        if (typeof event.error === "string") throw new Error(event.error);
        const bytes = event.progressDetail as { current?: number; total?: number } | undefined;
        if (typeof event.id !== "string" || bytes?.current === undefined) continue;
        onProgress?.({ type: "bytes", name: event.id, doneBytes: bytes.current, totalBytes: bytes.total ?? 0 });
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw asEngineError(error, `pull of ${reference}`);
    }
  }

  async import(rootfs: Readable, reference: string, labels: Labels): Promise<void> {
    const [repo, tag] = splitReference(reference);
    const changes = Object.entries(labels).map(([name, value]) => `LABEL ${name}=${JSON.stringify(value)}`);
    try {
      const stream = await this.#client.importImage(rootfs, { repo, tag, changes });
      for await (const event of readJsonLines(stream)) {
        if (typeof event.error === "string") throw new Error(event.error);
      }
    } catch (error) {
      throw asEngineError(error, `import of ${reference}`);
    }
  }

  async build(context: Readable, options: BuildOptions): Promise<void> {
    const { reference, signal, onProgress } = options;
    signal?.throwIfAborted();
    const progress = new BuildProgressReader(onProgress);
    try {
      for await (const event of readJsonLines(await this.#startBuild(context, options))) {
        progress.take(event);
        if (typeof event.error === "string") throw buildError(event.error, reference, progress);
      }
      progress.end();
    } catch (error) {
      signal?.throwIfAborted();
      throw asEngineError(error, `build of ${reference}`);
    } finally {
      context.destroy();
    }
  }

  #startBuild(context: Readable, options: BuildOptions): Promise<NodeJS.ReadableStream> {
    const { reference, dockerfile, labels, buildArgs = {}, network, signal } = options;
    return this.#client.buildImage(context, {
      t: reference,
      dockerfile,
      labels: { ...labels },
      buildargs: { ...buildArgs },
      networkmode: network,
      rm: true,
      forcerm: true,
      // A number, not the string "2": dockerode opens a session for the string, which is needed only for pulls
      // and which it leaves open (holding the process) when the build is aborted.
      version: 2 as unknown as "2",
      ...(signal === undefined ? {} : { abortSignal: signal }),
    });
  }

  async remove(reference: string): Promise<boolean> {
    try {
      await this.#client.getImage(reference).remove();
      return true;
    } catch (error) {
      if (isMissing(error) || isConflict(error)) return false;
      throw asEngineError(error, `image ${reference}`);
    }
  }
}

/** The engine's filter for things that carry all of `labels`; an empty value asks for the label with any value. */
export function labelFilter(labels: Labels): { label: string[] } {
  return { label: Object.entries(labels).map(([name, value]) => (value === "" ? name : `${name}=${value}`)) };
}

function buildError(message: string, reference: string, progress: BuildProgressReader): PyisolateError {
  progress.end();
  const failed = progress.failedStep();
  const step = failed?.name ?? "its start";
  const exitCode = /exit code: (\d+)$/.exec(message)?.[1];
  const outcome = exitCode === undefined ? message : `exit code ${exitCode}, expected 0`;
  const shortStep = step.length > shownStepCharacters ? `${step.slice(0, shownStepCharacters)}…` : step;
  return new PyisolateError("IMAGE_BUILD_FAILED", `build of ${reference} failed at ${shortStep}: ${outcome}`, {
    image: reference,
    step,
    logTail: (failed?.lines ?? []).slice(-logTailLines),
    next: "The log lines say what the step complained about.",
  });
}

function splitReference(reference: string): [repository: string, tag: string] {
  const colon = reference.lastIndexOf(":");
  return [reference.slice(0, colon), reference.slice(colon + 1)];
}

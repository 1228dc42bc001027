// ExtensionManager: many extensions of one program. Composes; each step's own rules live in the files it calls.

import { createOwnerDirectory, type OwnerDirectory } from "../container/rundir.ts";
import { requireRuntime } from "../container/runtime.ts";
import { sweep } from "../container/sweep.ts";
import { connectEngine } from "../engine/docker.ts";
import type { Engine } from "../engine/engine.ts";
import { PyisolateError } from "../errors.ts";
import { ensureBase } from "../image/base.ts";
import { type EnsuredImage, ensureImage, type FoundImage, findImage, type ImageRequest } from "../image/ensure.ts";
import { type PrunedImage, pruneImages } from "../image/prune.ts";
import type { PythonVersion } from "../manifest/manifest.ts";
import { readSchemas } from "../store/schemas.ts";
import type { Dtype } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { BuildOwner } from "./build-owner.ts";
import type { Extension } from "./extension.ts";
import { type LoadOptions, startExtension } from "./load.ts";
import { SharedMemory } from "./memory.ts";
import { type ExtensionConfig, type Pack, readPack } from "./pack.ts";
import { type LoadedPack, parseLoadedPack } from "./schema.ts";
import { type Settings, type SettingsSource, settingsFrom } from "./settings.ts";

export interface ManagerOptions extends SettingsSource {
  /** Default: the Docker Engine of this machine. */
  readonly engine?: Engine;
}

/** What `prune` removed, or would. */
export interface Pruned {
  readonly isDryRun: boolean;
  /** Ids of containers whose programs or builds are dead. */
  readonly containers: readonly string[];
  readonly images: readonly PrunedImage[];
}

/**
 * Loads packs and ends them all when disposed. One per program is enough.
 * The first use connects to the engine and removes what dead programs of this user left behind.
 */
export class ExtensionManager {
  readonly #settings: Settings;
  readonly #givenEngine: Engine | undefined;
  #engine: Promise<Engine> | undefined;
  #owner: Promise<OwnerDirectory> | undefined;
  #memory: Promise<SharedMemory> | undefined;
  readonly #extensions = new Set<Extension>();
  readonly #loads = new Set<Promise<Extension>>();
  /** Aborted by `stop`: ends what is under way and refuses what comes later. */
  readonly #stopped = new AbortController();
  #stopping: Promise<void> | undefined;

  constructor(options: ManagerOptions = {}) {
    this.#settings = settingsFrom(options);
    this.#givenEngine = options.engine;
  }

  /**
   * Builds what is missing, starts the pack's container and imports the pack.
   * Raises the manifest, policy, engine, image and pack errors of docs/errors.md; after any of them nothing is left.
   */
  async loadExtension(source: string | ExtensionConfig, options: LoadOptions = {}): Promise<Extension> {
    const load = this.#load(source, this.#stoppable(options));
    this.#loads.add(load);
    try {
      return await load;
    } catch (error) {
      throw this.#stopped.signal.aborted ? stoppedError(error) : error;
    } finally {
      this.#loads.delete(load);
    }
  }

  /** The extensions that are loaded and have neither died nor been stopped. */
  list(): readonly Extension[] {
    return [...this.#extensions];
  }

  /**
   * A tensor in memory that a pack reads where it lies: fill its `data`, then give it to nodes; nothing is copied.
   * Raises TENSOR_INVALID, SHARED_MEMORY_EXHAUSTED.
   */
  async empty(dtype: Dtype, shape: readonly number[]): Promise<Tensor> {
    this.#stoppable({});
    return (await this.#openMemory()).tensors.empty(dtype, shape);
  }

  /** Builds a pack's images without starting it. */
  async ensureImage(
    source: string | ExtensionConfig,
    options: LoadOptions = {},
  ): Promise<Pack & { image: EnsuredImage }> {
    const stoppable = this.#stoppable(options);
    const pack = await readPack(source, this.#settings);
    return { ...pack, image: await this.#ensure(await this.#connect(), pack, stoppable) };
  }

  /** What is known of a pack without building or starting anything. */
  async findPack(
    source: string | ExtensionConfig,
    options: LoadOptions = {},
  ): Promise<Pack & { image: FoundImage | undefined; schemas: LoadedPack | undefined }> {
    const context = this.#stoppable(options);
    const pack = await readPack(source, this.#settings);
    const engine = await this.#connect();
    await using owner = this.#buildOwner(engine);
    const image = await findImage(imageRequest(pack), await this.#imageContext(engine, owner, context));
    const known = image === undefined ? undefined : await readSchemas(this.#settings.stateDirectory, image.digest);
    return { ...pack, image, schemas: known === undefined ? undefined : tryParse(known) };
  }

  /** Makes the base image of a Python version unless it is there. */
  async ensureBase(python: PythonVersion, options: LoadOptions = {}): Promise<void> {
    const stoppable = this.#stoppable(options);
    const engine = await this.#connect();
    await using owner = this.#buildOwner(engine);
    await ensureBase(python, await this.#imageContext(engine, owner, stoppable));
  }

  /** Removes what dead programs left behind, and images that no pack needs any more (`all`: that no container uses). */
  async prune(options: { readonly all?: boolean; readonly dryRun?: boolean } = {}): Promise<Pruned> {
    this.#stoppable({});
    const engine = await this.#connect();
    const swept = await sweep(engine, this.#settings.runRoot, options);
    const pruned = await pruneImages(engine, options);
    // A dry run finds what sweep would have removed twice.
    const images = new Map([...swept.images, ...pruned.removed].map((image) => [image.reference, image]));
    return {
      isDryRun: options.dryRun === true,
      containers: [...new Set([...swept.containers, ...pruned.containers])],
      images: [...images.values()],
    };
  }

  /**
   * Ends every extension and every load under way. The manager cannot be used afterwards. Stopping twice is fine.
   * Raises ENGINE_FAILED, with `details.causes`, when containers could not be removed; then it may be tried again.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#end().catch((error) => {
      this.#stopping = undefined;
      throw error;
    });
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #end(): Promise<void> {
    this.#stopped.abort();
    await Promise.allSettled([...this.#loads]);
    const outcomes = await Promise.allSettled([...this.#extensions].map((extension) => extension.stop()));
    const causes = outcomes.filter((outcome) => outcome.status === "rejected").map(({ reason }) => reason as unknown);
    if (causes.length > 0) {
      throw new PyisolateError("ENGINE_FAILED", `${causes.length} packs could not be stopped: ${causes[0]}`, {
        causes,
        next: "Start the engine and stop again; what stays is removed when pyisolate is used next.",
      });
    }
    const owner = await this.#owner?.catch(() => undefined);
    await owner?.close();
    (await this.#memory?.catch(() => undefined))?.tensors.close();
  }

  async #load(source: string | ExtensionConfig, options: LoadOptions): Promise<Extension> {
    const pack = await readPack(source, this.#settings);
    const engine = await this.#connect();
    const image = await this.#ensure(engine, pack, options);
    const owner = await this.#own(engine);
    const memory = await this.#openMemory();
    const { stateDirectory } = this.#settings;
    const extension = await startExtension(pack, { engine, image, owner, memory, stateDirectory }, options);
    this.#extensions.add(extension);
    void extension.closed.then(() => this.#extensions.delete(extension));
    return extension;
  }

  /** The options with this manager's own end among the reasons to abort. Raises PACK_STOPPED when it has come. */
  #stoppable(options: LoadOptions): LoadOptions {
    const { signal } = this.#stopped;
    if (signal.aborted) throw stoppedError();
    return { ...options, signal: options.signal === undefined ? signal : AbortSignal.any([options.signal, signal]) };
  }

  /** One connection for all; a failed one is tried again at the next use. */
  #connect(): Promise<Engine> {
    if (this.#givenEngine !== undefined) return Promise.resolve(this.#givenEngine);
    this.#engine ??= connectEngine({ dockerHost: this.#settings.dockerHost }).catch((error) => {
      this.#engine = undefined;
      throw error;
    });
    return this.#engine;
  }

  #own(engine: Engine): Promise<OwnerDirectory> {
    const { runRoot } = this.#settings;
    this.#owner ??= sweep(engine, runRoot)
      .then(() => createOwnerDirectory(runRoot))
      .catch((error) => {
        this.#owner = undefined;
        throw error;
      });
    return this.#owner;
  }

  /** Opened at its first use, with what the policy says then about all packs together. */
  #openMemory(): Promise<SharedMemory> {
    this.#memory ??= SharedMemory.open(this.#settings).catch((error) => {
      this.#memory = undefined;
      throw error;
    });
    return this.#memory;
  }

  async #ensure(engine: Engine, pack: Pack, options: LoadOptions): Promise<EnsuredImage> {
    if (pack.manifest.runtime !== undefined) requireRuntime(pack.manifest, await engine.info());
    await using owner = this.#buildOwner(engine);
    return await ensureImage(imageRequest(pack), await this.#imageContext(engine, owner, options));
  }

  #buildOwner(engine: Engine): BuildOwner {
    return new BuildOwner(engine, this.#settings.runRoot);
  }

  async #imageContext(engine: Engine, owner: BuildOwner, options: LoadOptions) {
    const { signal, onProgress } = options;
    return {
      engine,
      storeDirectory: this.#settings.stateDirectory,
      host: await this.#settings.host(),
      settings: this.#settings.images,
      ownerLabels: () => owner.labels(),
      ...(signal === undefined ? {} : { signal }),
      ...(onProgress === undefined ? {} : { onProgress }),
    };
  }
}

function imageRequest({ manifest, directory }: Pack): ImageRequest {
  return { manifest, packDirectory: directory, wheelsOnly: !manifest.sourceBuilds };
}

/** A damaged entry of the store counts as none. */
function tryParse(text: string): LoadedPack | undefined {
  try {
    return parseLoadedPack(text);
  } catch {
    return undefined;
  }
}

function stoppedError(cause?: unknown): PyisolateError {
  return new PyisolateError(
    "PACK_STOPPED",
    "this ExtensionManager was stopped",
    { next: "Make a new ExtensionManager." },
    cause,
  );
}

// ExtensionManager: many extensions of one program. Composes; each step's own rules live in the files it calls.

import { createOwnerDirectory, type OwnerDirectory } from "../container/rundir.ts";
import { sweep } from "../container/sweep.ts";
import { connectEngine } from "../engine/docker.ts";
import type { Engine } from "../engine/engine.ts";
import { PyisolateError } from "../errors.ts";
import { ensureBase } from "../image/base.ts";
import { type EnsuredImage, ensureImage, type FoundImage, findImage, type ImageRequest } from "../image/ensure.ts";
import { type PrunedImage, pruneImages } from "../image/prune.ts";
import { formatPosition, type Manifest, type PythonVersion } from "../manifest/manifest.ts";
import { readSchemas } from "../store/schemas.ts";
import type { Extension } from "./extension.ts";
import { type LoadOptions, startExtension } from "./load.ts";
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
  /** Ids of containers whose programs are dead. */
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
  ): Promise<Pack & { image: FoundImage | undefined; schemas: LoadedPack | undefined }> {
    const context = this.#stoppable({});
    const pack = await readPack(source, this.#settings);
    const image = await findImage(imageRequest(pack), await this.#imageContext(await this.#connect(), context));
    const known = image === undefined ? undefined : await readSchemas(this.#settings.stateDirectory, image.digest);
    return { ...pack, image, schemas: known === undefined ? undefined : tryParse(known) };
  }

  /** Makes the base image of a Python version unless it is there. */
  async ensureBase(python: PythonVersion, options: LoadOptions = {}): Promise<void> {
    const stoppable = this.#stoppable(options);
    await ensureBase(python, await this.#imageContext(await this.#connect(), stoppable));
  }

  /** Removes what dead programs left behind, and images that no pack needs any more (`all`: that no container uses). */
  async prune(options: { readonly all?: boolean; readonly dryRun?: boolean } = {}): Promise<Pruned> {
    this.#stoppable({});
    const engine = await this.#connect();
    const { containers } = options.dryRun === true ? { containers: [] } : await sweep(engine, this.#settings.runRoot);
    return { isDryRun: options.dryRun === true, containers, images: (await pruneImages(engine, options)).removed };
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
  }

  async #load(source: string | ExtensionConfig, options: LoadOptions): Promise<Extension> {
    const pack = await readPack(source, this.#settings);
    requireIsolated(pack.manifest);
    const engine = await this.#connect();
    const image = await this.#ensure(engine, pack, options);
    const owner = await this.#own(engine);
    const { stateDirectory } = this.#settings;
    const extension = await startExtension(pack, { engine, image, owner, stateDirectory }, options);
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

  async #ensure(engine: Engine, pack: Pack, options: LoadOptions): Promise<EnsuredImage> {
    return ensureImage(imageRequest(pack), await this.#imageContext(engine, options));
  }

  async #imageContext(engine: Engine, options: LoadOptions) {
    const { signal, onProgress } = options;
    return {
      engine,
      storeDirectory: this.#settings.stateDirectory,
      host: await this.#settings.host(),
      settings: this.#settings.images,
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

function requireIsolated(manifest: Manifest): void {
  if (manifest.isolated) return;
  const at = manifest.stated.get("isolated") ?? { line: 0, column: 0 };
  throw new PyisolateError(
    "POLICY_REFUSED",
    `${formatPosition(manifest.file, at)}: isolated: false needs a Python host; this program is not one`,
    { next: "Remove the line, or load the pack from a Python host." },
  );
}

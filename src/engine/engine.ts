// Engine: the few Docker calls we need, in our own types. Must not know manifests or RPC.
// The Docker implementation is docker.ts; tests may put a fake behind this interface (one of the two mock seams).

import type { Readable } from "node:stream";

export interface Engine {
  /** Asks the engine about itself. Raises ENGINE_UNAVAILABLE, ENGINE_NOT_PERMITTED, ENGINE_UNSUPPORTED. */
  info(): Promise<EngineInfo>;
  readonly images: EngineImages;
  readonly containers: EngineContainers;
  readonly volumes: EngineVolumes;
}

export interface EngineInfo {
  readonly version: string;
  readonly rootless: boolean;
  readonly cgroupVersion: 1 | 2;
  /** "none" means that limits are ignored. */
  readonly cgroupDriver: string;
  readonly securityOptions: readonly string[];
  readonly runtimes: readonly string[];
  readonly memoryBytes: number;
  readonly cpus: number;
}

/** As a filter, an empty value stands for the label with any value. */
export type Labels = Readonly<Record<string, string>>;

export interface EngineImages {
  /** undefined when the engine has no such image. */
  inspect(reference: string): Promise<ImageInfo | undefined>;
  list(labels: Labels): Promise<readonly ImageInfo[]>;
  /** Raises ENGINE_FAILED when the registry cannot be reached or has no such image. */
  pull(reference: string, options?: ProgressOptions): Promise<void>;
  /** Makes an image of one layer from a tar of a root file system. */
  import(rootfs: Readable, reference: string, labels: Labels): Promise<void>;
  /**
   * Builds with BuildKit from a tar of the context; the tag exists only when every step has passed. Nothing is pulled: images named in FROM must be there.
   * Raises IMAGE_BUILD_FAILED with `step` and `logTail` (last 20 lines of the failed step). An abort stops the build and raises the signal's reason.
   */
  build(context: Readable, options: BuildOptions): Promise<void>;
  /** Gives false when there is no such image, or a container uses it; then nothing is removed. */
  remove(reference: string): Promise<boolean>;
}

export interface ImageInfo {
  readonly id: string;
  readonly tags: readonly string[];
  readonly labels: Labels;
  /** Unpacked size of all layers. */
  readonly sizeBytes: number;
  readonly createdMs: number;
}

export interface ProgressOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (event: EngineProgress) => void;
}

/** What a long engine operation says while it runs. */
export type EngineProgress =
  | { readonly type: "step"; readonly name: string; readonly state: "started" | "cached" | "done" | "failed" }
  | { readonly type: "log"; readonly line: string }
  /** Of one layer or download; `totalBytes` is 0 while unknown. */
  | { readonly type: "bytes"; readonly name: string; readonly doneBytes: number; readonly totalBytes: number };

export interface BuildOptions extends ProgressOptions {
  readonly reference: string;
  /** Path of the Dockerfile in the context. */
  readonly dockerfile: string;
  readonly labels: Labels;
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** "none" cuts every RUN step off the network. */
  readonly network: "default" | "none";
}

export interface EngineContainers {
  /** Creates without starting; gives the id. */
  create(spec: ContainerSpec): Promise<string>;
  start(id: string): Promise<void>;
  /** undefined when there is no such container. */
  inspect(id: string): Promise<ContainerState | undefined>;
  list(labels: Labels): Promise<readonly ContainerSummary[]>;
  /** Resolves when the container is no longer running. */
  wait(id: string): Promise<ExitStatus>;
  /** Kills and removes. Removing what is not there is not an error. */
  remove(id: string): Promise<void>;
  /** The last `lines` lines of both outputs, oldest first; of each at most 2000 characters. */
  logs(id: string, lines: number): Promise<readonly string[]>;
  /** One file out of the container's file system. */
  readFile(id: string, path: string): Promise<Buffer>;
}

/** One container, as the engine is asked for it. Every part of its confinement is explicit: there are no engine defaults to forget. */
export interface ContainerSpec {
  /** Absent: the engine makes one up. */
  readonly name?: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly labels: Labels;
  readonly workingDir: string;
  /** "uid:gid" */
  readonly user: string;
  readonly network: "none" | "bridge";
  /** Absent: the engine's own. */
  readonly runtime?: string;
  readonly readOnlyRoot: boolean;
  readonly dropAllCapabilities: boolean;
  readonly noNewPrivileges: boolean;
  /** Seccomp profile as JSON text, or "default" for the engine's own. */
  readonly seccomp: string;
  /** "private": System V and POSIX shared memory of its own. */
  readonly ipc: "private";
  /** Docker's tiny init as process 1: reaps orphans, forwards signals. */
  readonly init: boolean;
  readonly limits: ContainerLimits;
  readonly mounts: readonly ContainerMount[];
  readonly tmpfs: readonly ContainerTmpfs[];
}

/** A file system in memory; never with set-user-id programs or devices. */
interface ContainerTmpfs {
  readonly target: string;
  readonly sizeBytes: number;
  /** Octal, e.g. "1777". */
  readonly mode: string;
  /** Whether files on it may be run as programs. */
  readonly exec: boolean;
}

export interface ContainerLimits {
  /** Memory and swap together: swap is off. */
  readonly memoryBytes: number;
  /** Percent of one core: 250 is two and a half. */
  readonly cpuPercent: number;
  readonly pids: number;
  readonly openFiles: number;
  readonly fileSizeBytes: number;
  /** Size of the container's own /dev/shm. */
  readonly shmBytes: number;
  readonly logBytes: number;
}

export type ContainerMount =
  | { readonly type: "bind"; readonly source: string; readonly target: string; readonly write: boolean }
  | { readonly type: "volume"; readonly source: string; readonly target: string; readonly write: boolean };

export interface ContainerSummary {
  readonly id: string;
  /** Id of the image it was made from, "sha256:…". */
  readonly imageId: string;
  readonly labels: Labels;
  readonly running: boolean;
}

export interface ContainerState extends ContainerSummary {
  /** Process id of the container's process 1 on this machine; 0 when not running. */
  readonly pid: number;
  readonly exit: ExitStatus | undefined;
}

export interface ExitStatus {
  readonly exitCode: number;
  /** The kernel killed a process of the container for memory. */
  readonly oomKilled: boolean;
}

export interface EngineVolumes {
  /** Creates the volume unless it exists. */
  ensure(name: string, labels: Labels): Promise<void>;
  list(labels: Labels): Promise<readonly string[]>;
  remove(name: string): Promise<void>;
}

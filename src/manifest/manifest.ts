// Manifest: what a pack asks for, parsed once and frozen. Must not know Docker or sockets.
// parse.ts is the only maker of the type (resolve.ts fills in what the policy decides); inside the program it is trusted.

/** Where something stands in a file the user wrote. Lines and columns count from 1. */
export interface SourcePosition {
  readonly line: number;
  readonly column: number;
}

/** One entry of `dependencies`, as written: PEP 508, git+https://…, or a path below the pack's folder. */
export interface Dependency {
  readonly requirement: string;
  readonly at: SourcePosition;
}

/** What this machine has: bounds the defaults of the manifest's table. */
export interface MachineSize {
  readonly memoryBytes: number;
  readonly cpus: number;
}

export type PythonVersion = "3.9" | "3.10" | "3.11" | "3.12" | "3.13";

/** "none", "full", or the hosts a pack may reach, each `host[:port]`, `*.` allowed in front. */
export type NetworkRequest = "none" | "full" | readonly string[];

export type GpuRequest = false | true | "optional" | { readonly count: number } | { readonly ids: readonly string[] };

export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly write: boolean;
}

/** The keys of manifest.yaml, in the order of docs/manifest.md. */
export type ManifestKey =
  | "name"
  | "version"
  | "python"
  | "dependencies"
  | "system_packages"
  | "isolated"
  | "share_torch"
  | "gpu"
  | "max_memory"
  | "max_cpu_percent"
  | "max_pids"
  | "max_shm"
  | "max_tmp"
  | "data"
  | "max_image"
  | "timeout"
  | "network"
  | "mounts"
  | "env"
  | "runtime"
  | "indexes"
  | "find_links"
  | "services"
  | "routes"
  | "web";

/** A pack's manifest with every default filled in. Deeply frozen. */
export interface Manifest {
  /** Path of the file it was read from, as given by the caller. */
  readonly file: string;
  /** Keys the file itself states, and where; a key that is absent here has its default. */
  readonly stated: ReadonlyMap<ManifestKey, SourcePosition>;

  readonly name: string;
  readonly version: string;
  readonly python: PythonVersion;
  readonly dependencies: readonly Dependency[];
  readonly systemPackages: readonly string[];
  readonly isolated: boolean;
  readonly shareTorch: boolean;
  readonly gpu: GpuRequest;
  readonly maxMemoryBytes: number;
  /** Percent of one core: 250 is two and a half cores. */
  readonly maxCpuPercent: number;
  readonly maxPids: number;
  readonly maxShmBytes: number;
  readonly maxTmpBytes: number;
  /** Size of the directory that survives restarts; undefined: none. */
  readonly dataBytes: number | undefined;
  readonly maxImageBytes: number;
  /** Milliseconds for one node execution; undefined: no limit. */
  readonly timeoutMs: number | undefined;
  readonly network: NetworkRequest;
  readonly mounts: readonly Mount[];
  readonly env: Readonly<Record<string, string>>;
  /** undefined: the engine's own. */
  readonly runtime: string | undefined;
  readonly indexes: readonly string[];
  readonly findLinks: readonly string[];
  readonly services: readonly string[];
  readonly routes: readonly string[];
  readonly web: readonly string[];
}

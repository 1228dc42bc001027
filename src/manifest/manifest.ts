// Manifest: what a pack asks for, parsed once and frozen. Must not know Docker or sockets.
// parse.ts is the only maker of the type (resolve.ts fills in what the policy decides); inside the program it is trusted.

/** Where something stands in a file the user wrote. Lines and columns count from 1; 0:0 is a config object, which has none. */
export interface SourcePosition {
  readonly line: number;
  readonly column: number;
}

/** "manifest.yaml:3:5", or "config" for what an ExtensionConfig stated. */
export function formatPosition(file: string, at: SourcePosition): string {
  return at.line === 0 ? "config" : `${file}:${at.line}:${at.column}`;
}

/** One entry of `dependencies`, as written: PEP 508, git+https://…, or a path below the pack's folder. */
export interface Dependency {
  readonly requirement: string;
  readonly kind: DependencyKind;
  /** It can only be installed by building it: a git, folder or archive dependency. An index may still offer no wheel. */
  readonly needsBuild: boolean;
  readonly at: SourcePosition;
}

/** index: by name from an index · url: one file by its URL · git: a git repository · path: `./…` in the pack's folder. */
export type DependencyKind = "index" | "url" | "git" | "path";

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

/** A manifest's keys as a program states them: names and forms of manifest.yaml. What is absent comes from the file, else the defaults. */
export interface ExtensionConfig {
  readonly name?: string;
  readonly version?: string;
  readonly python?: PythonVersion;
  readonly dependencies?: readonly string[];
  readonly system_packages?: readonly string[];
  readonly isolated?: boolean;
  readonly share_torch?: boolean;
  readonly gpu?: GpuRequest;
  /** Bytes, or text such as "8GB"; so are the other sizes. */
  readonly max_memory?: number | string;
  readonly max_cpu_percent?: number;
  readonly max_pids?: number;
  readonly max_shm?: number | string;
  readonly max_tmp?: number | string;
  readonly data?: number | string;
  readonly max_image?: number | string;
  /** Seconds, or "none". */
  readonly timeout?: number | "none";
  readonly network?: NetworkRequest;
  readonly mounts?: readonly { readonly source: string; readonly target: string; readonly write?: boolean }[];
  readonly env?: Readonly<Record<string, string>>;
  readonly runtime?: string;
  readonly indexes?: readonly string[];
  readonly find_links?: readonly string[];
  readonly services?: readonly string[];
  readonly routes?: readonly string[];
  readonly web?: readonly string[];
}

/** A pack's manifest with every default filled in. Deeply frozen. */
export interface Manifest {
  /** Path of the file it was read from, as given by the caller. */
  readonly file: string;
  /** Keys the file or the config object states, and where; a key that is absent here has its default. */
  readonly stated: ReadonlyMap<ManifestKey, SourcePosition>;
  /** The policy's level of trust for this pack. */
  readonly level: string;
  /** Whether the policy lets dependencies be built from source; false: wheels only. */
  readonly sourceBuilds: boolean;

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

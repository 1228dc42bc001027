// Settings: everything the environment decides, read once and handed in from here on.
// The one place outside entry/ that may look at process.env, and only where the program gave no environment.

import { cpus, homedir, totalmem } from "node:os";
import { join } from "node:path";
import { chooseRunRoot } from "../container/rundir.ts";
import { type HostSettings, readHostSettings } from "../image/host.ts";
import { defaultImageSettings, type ImageSettings } from "../image/settings.ts";
import type { MachineSize } from "../manifest/manifest.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface SettingsSource {
  /** Default: process.env. */
  readonly environment?: Environment;
  /** Path of the operator's policy; default: see docs/manifest.md. */
  readonly policy?: string;
}

export interface Settings {
  readonly dockerHost: string | undefined;
  readonly machine: MachineSize;
  /** A policy that the program named must exist; the default one need not. */
  readonly policy: { readonly file: string; readonly isRequired: boolean };
  readonly stateDirectory: string;
  readonly runRoot: string;
  readonly images: ImageSettings;
  /** CA bundle, package indexes and find-links of this machine, as builds need them. Read when first asked for. */
  readonly host: () => Promise<HostSettings>;
}

export function settingsFrom(source: SettingsSource): Settings {
  const environment = source.environment ?? process.env;
  const home = absolute(environment.HOME) ?? homedir();
  const uid = process.getuid?.() ?? 0;
  return {
    dockerHost: environment.DOCKER_HOST,
    machine: { memoryBytes: totalmem(), cpus: cpus().length },
    policy:
      source.policy === undefined
        ? { file: defaultPolicyFile(environment, home, uid), isRequired: false }
        : { file: source.policy, isRequired: true },
    stateDirectory: join(absolute(environment.XDG_STATE_HOME) ?? join(home, ".local/state"), "pyisolate"),
    runRoot: chooseRunRoot({ xdgRuntimeDir: absolute(environment.XDG_RUNTIME_DIR), uid }),
    images: {
      ...defaultImageSettings,
      ...(environment.PYISOLATE_BASE_IMAGE === undefined ? {} : { baseImage: environment.PYISOLATE_BASE_IMAGE }),
      ...(environment.PYISOLATE_UV_IMAGE === undefined ? {} : { uvImage: environment.PYISOLATE_UV_IMAGE }),
    },
    host: () => readHostSettings(environment, home),
  };
}

function defaultPolicyFile(environment: Environment, home: string, uid: number): string {
  if (uid === 0) return "/etc/pyisolate/policy.yaml";
  return join(absolute(environment.XDG_CONFIG_HOME) ?? join(home, ".config"), "pyisolate/policy.yaml");
}

/** The XDG rules: a variable that is empty or names a relative path does not count. */
function absolute(path: string | undefined): string | undefined {
  return path?.startsWith("/") ? path : undefined;
}

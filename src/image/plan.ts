// Plan: from a manifest and a lock to the ordered links of its image chain. Pure: says what each link is made from, builds
// nothing. A link's digest covers its parent's digest, the manifest keys that concern it, its part of the lock or source,
// and its Dockerfile, and nothing else: no limit, no network, no index address, no authority, no machine.

import type { Labels } from "../engine/engine.ts";
import type { Manifest } from "../manifest/manifest.ts";
import { digestOf } from "./digest.ts";
import { dependenciesDockerfile, runtimeDockerfile, sourceDockerfile, systemDockerfile } from "./dockerfile.ts";
import { labelsOf, PACK, PARENT, referenceOf } from "./labels.ts";
import type { Lock } from "./lock-text.ts";

/** In the order of the chain. A link with nothing in it is left out; base, source and runtime are always there. */
export type LinkKind = "base" | "system" | "dependencies" | "source" | "runtime";

export interface PlannedLink {
  readonly kind: Exclude<LinkKind, "base">;
  /** Tag: pyisolate/KIND:DIGEST. */
  readonly reference: string;
  readonly digest: string;
  /** Reference of the link below. */
  readonly parent: string;
  readonly dockerfile: string;
  readonly labels: Labels;
  readonly network: "default" | "none";
}

/** A link that exists already, on which others stand. */
export interface Foundation {
  readonly reference: string;
  readonly digest: string;
}

export interface PlanInput {
  readonly manifest: Pick<Manifest, "name" | "systemPackages">;
  readonly base: Foundation;
  /** undefined: the pack has no dependencies. */
  readonly lock: Lock | undefined;
  readonly wheelsOnly: boolean;
  readonly sourceDigest: string;
  readonly runtimeDigest: string;
}

/** The links above the base, lowest first. */
export function planLinks(input: PlanInput): readonly PlannedLink[] {
  const { manifest, lock, wheelsOnly, sourceDigest, runtimeDigest } = input;
  const links: PlannedLink[] = [];
  const add = (
    kind: PlannedLink["kind"],
    content: string[],
    rest: Pick<PlannedLink, "dockerfile" | "network">,
    labels?: Labels,
  ) => {
    const below = links.at(-1) ?? input.base;
    const digest = digestOf([kind, below.digest, content, rest.dockerfile]);
    const allLabels = labelsOf(kind, digest, { [PARENT]: below.reference, ...labels });
    links.push({
      kind,
      digest,
      reference: referenceOf(kind, digest),
      parent: below.reference,
      labels: allLabels,
      ...rest,
    });
  };
  if (manifest.systemPackages.length > 0) {
    add("system", sortedPackages(manifest.systemPackages), { dockerfile: systemDockerfile, network: "default" });
  }
  if (lock !== undefined) {
    const content = [lock.body, ...lock.wheels.map(({ digest }) => digest)];
    add("dependencies", content, { dockerfile: dependenciesDockerfile(wheelsOnly), network: "default" });
  }
  const pack = { [PACK]: manifest.name };
  add("source", [manifest.name, sourceDigest], { dockerfile: sourceDockerfile, network: "none" }, pack);
  add("runtime", [runtimeDigest], { dockerfile: runtimeDockerfile, network: "none" }, pack);
  return links;
}

/** Each once, in an order that does not depend on how the manifest lists them. */
export function sortedPackages(packages: readonly string[]): string[] {
  return [...new Set(packages)].sort();
}

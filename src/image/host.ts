// HostSettings: what this machine's user has set up for downloading packages, so far as builds need it: a private certificate
// authority, package indexes, folders of wheels. None of it is ever part of a digest, a layer or a label.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { pipOptions, readPipConfigs, splitWords } from "./pip-config.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface HostSettings {
  /** PEM text of the authorities this machine trusts; undefined: the base image's own do. */
  readonly caBundle: string | undefined;
  /** undefined: uv's and pip's own default. */
  readonly defaultIndex: string | undefined;
  /** Further indexes, asked first. */
  readonly extraIndexes: readonly PackageIndex[];
  /** Whether the best version of all indexes counts, as pip does it, or the first index that has the package, as uv does. */
  readonly mixesIndexes: boolean;
  readonly findLinkUrls: readonly string[];
  /** Absolute paths of folders with wheels. */
  readonly findLinkDirectories: readonly string[];
  /** What was left out, one sentence each. */
  readonly notes: readonly string[];
  readonly home: string;
  /** Folders in which programs are looked for. */
  readonly path: readonly string[];
  readonly isRoot: boolean;
  /** As Node names it: x64, arm64. The engine runs on this machine, so it is the engine's too. */
  readonly architecture: string;
}

interface PackageIndex {
  readonly name: string | undefined;
  readonly url: string;
}

const systemCaBundle = "/etc/ssl/certs/ca-certificates.crt";

/** Reads the files that `environment` names or pip looks at. Missing files are skipped. */
export async function readHostSettings(environment: Environment, home: string): Promise<HostSettings> {
  const [caBundle, ...pipConfigs] = await Promise.all([
    readOptional(environment.SSL_CERT_FILE || systemCaBundle),
    ...pipConfigFiles(environment, home).map(readOptional),
  ]);
  const texts = pipConfigs.filter((text) => text !== undefined);
  const machine = { home, isRoot: process.getuid?.() === 0, architecture: process.arch };
  return { ...hostSettingsFrom(environment, texts), ...machine, caBundle };
}

/** pip's files, weakest first. */
function pipConfigFiles(environment: Environment, home: string): string[] {
  return [
    "/etc/xdg/pip/pip.conf",
    "/etc/pip.conf",
    join(home, ".pip/pip.conf"),
    join(environment.XDG_CONFIG_HOME || join(home, ".config"), "pip/pip.conf"),
    ...(environment.PIP_CONFIG_FILE ? [environment.PIP_CONFIG_FILE] : []),
  ];
}

async function readOptional(file: string): Promise<string | undefined> {
  return readFile(file, "utf8").catch(() => undefined);
}

/** The pure part: an environment and the texts of pip's files, weakest first. */
export function hostSettingsFrom(
  environment: Environment,
  pipConfigs: readonly string[],
): Omit<HostSettings, "home" | "isRoot" | "architecture" | "caBundle"> {
  const notes: string[] = [];
  const pip = {
    ...readPipConfigs(pipConfigs),
    ...pipOptions((name) => environment[`PIP_${name.toUpperCase().replaceAll("-", "_")}`]),
  };
  const isReachable = (url: string): boolean => {
    if (!isLocal(url)) return true;
    notes.push(`index ${withoutUserinfo(url)} is a folder of this machine, which builds cannot reach: left out`);
    return false;
  };
  const uvIndexes = [...splitWords(environment.UV_INDEX), ...splitWords(environment.UV_EXTRA_INDEX_URL)].map(
    parseIndex,
  );
  const pipIndexes = (pip.extraIndexUrls ?? []).map(parseIndex).filter(({ url }) => isReachable(url));
  const defaultIndex = environment.UV_DEFAULT_INDEX || environment.UV_INDEX_URL || pip.indexUrl;
  const links = [...splitWords(environment.UV_FIND_LINKS), ...(pip.findLinks ?? [])];
  return {
    defaultIndex: defaultIndex !== undefined && isReachable(defaultIndex) ? parseIndex(defaultIndex).url : undefined,
    extraIndexes: uniqueBy([...uvIndexes.filter(({ url }) => isReachable(url)), ...pipIndexes], ({ url }) => url),
    mixesIndexes: pipIndexes.length > 0,
    findLinkUrls: [...new Set(links.filter((link) => !isLocal(link)))],
    findLinkDirectories: [...new Set(links.filter(isLocal).map(localPath))],
    notes,
    path: (environment.PATH ?? "").split(":").filter((folder) => folder !== ""),
  };
}

/** `https://…`, or uv's `name=https://…`. */
function parseIndex(text: string): PackageIndex {
  const [, name, url = text] = /^([A-Za-z0-9._-]+)=(.+)$/.exec(text) ?? [];
  return { name, url };
}

function isLocal(link: string): boolean {
  return link.startsWith("file:") || !/^[a-z][a-z0-9+.-]*:/i.test(link);
}

function localPath(link: string): string {
  return link.startsWith("file:") ? fileURLToPath(link) : link;
}

function uniqueBy<T>(items: readonly T[], key: (item: T) => string): T[] {
  return [...new Map(items.map((item) => [key(item), item])).values()];
}

function withoutUserinfo(url: string): string {
  return url.replace(/\/\/[^/@\s]*@/, "//***@");
}

/** Replaces every user name and password of the host's addresses, as written and decoded, in a text. */
export function makeRedactor(host: HostSettings): (text: string) => string {
  const urls = [host.defaultIndex ?? "", ...host.extraIndexes.map(({ url }) => url), ...host.findLinkUrls];
  const secrets = urls.flatMap((url) => {
    const userinfo = /\/\/([^/@\s]+)@/.exec(url)?.[1];
    if (userinfo === undefined) return [];
    const password = userinfo.slice(userinfo.indexOf(":") + 1);
    return [userinfo, password, decode(userinfo), decode(password)];
  });
  const longestFirst = [...new Set(secrets)].filter((secret) => secret !== "").sort((a, b) => b.length - a.length);
  return (text) => longestFirst.reduce((rest, secret) => rest.replaceAll(secret, "***"), text);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Where the files below are mounted in a build step. */
const mountPoint = "/run/build/host";

/**
 * The files of the folder `host/` in a build context, mounted at /run/build/host in a step and gone after it.
 * A step reads them with `. /run/build/host/env`. Always the same names, so that no Dockerfile depends on the host.
 */
export function hostFiles(host: HostSettings, hasWheelhouse: boolean): Record<string, string> {
  const exports = [`UV_CONFIG_FILE=${mountPoint}/uv.toml`, `PIP_CONFIG_FILE=${mountPoint}/pip.conf`];
  if (host.caBundle !== undefined) {
    for (const name of ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"])
      exports.push(`${name}=${mountPoint}/ca.pem`);
  }
  return {
    env: exports.map((line) => `export ${line}\n`).join(""),
    "uv.toml": uvConfig(host, hasWheelhouse),
    "pip.conf": pipConfig(host),
    ...(host.caBundle === undefined ? {} : { "ca.pem": host.caBundle }),
  };
}

function uvConfig(host: HostSettings, hasWheelhouse: boolean): string {
  const links = [...(hasWheelhouse ? ["/run/build/wheelhouse"] : []), ...host.findLinkUrls];
  const indexes = host.extraIndexes.map(
    ({ name, url }) =>
      `[[index]]\n${name === undefined ? "" : `name = ${JSON.stringify(name)}\n`}url = ${JSON.stringify(url)}\n`,
  );
  const defaultIndex =
    host.defaultIndex === undefined ? "" : `[[index]]\nurl = ${JSON.stringify(host.defaultIndex)}\ndefault = true\n`;
  return [
    ...(host.mixesIndexes ? ['index-strategy = "unsafe-best-match"\n'] : []),
    `find-links = ${JSON.stringify(links)}\n`,
    ...indexes,
    defaultIndex,
  ].join("");
}

function pipConfig(host: HostSettings): string {
  const extra = host.extraIndexes.map(({ url }) => `  ${url}\n`).join("");
  const links = host.findLinkUrls.map((url) => `  ${url}\n`).join("");
  return [
    "[global]\n",
    ...(host.defaultIndex === undefined ? [] : [`index-url = ${host.defaultIndex}\n`]),
    ...(extra === "" ? [] : [`extra-index-url =\n${extra}`]),
    ...(links === "" ? [] : [`find-links =\n${links}`]),
  ].join("");
}

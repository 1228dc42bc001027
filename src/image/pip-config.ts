// PipConfig: the options of pip's configuration files that say where packages come from. Pure.

export interface PipOptions {
  readonly indexUrl?: string;
  readonly extraIndexUrls?: readonly string[];
  readonly findLinks?: readonly string[];
}

/** Sections that hold for installing, the stronger one last. Others ("[list]", …) do not concern us. */
const sections = ["global", "install"] as const;

/** Reads configuration files, weakest first; a later file's option replaces an earlier one's, as in pip. */
export function readPipConfigs(texts: readonly string[]): PipOptions {
  const values = new Map<string, string>();
  for (const text of texts) {
    const file = parseIni(text);
    for (const section of sections) for (const [name, value] of file.get(section) ?? []) values.set(name, value);
  }
  return pipOptions((name) => values.get(name));
}

/** Options out of any source that knows them by pip's long names. */
export function pipOptions(get: (name: string) => string | undefined): PipOptions {
  const indexUrl = get("index-url")?.trim();
  const extraIndexUrls = splitWords(get("extra-index-url"));
  const findLinks = splitWords(get("find-links"));
  return {
    ...(indexUrl ? { indexUrl } : {}),
    ...(extraIndexUrls.length > 0 ? { extraIndexUrls } : {}),
    ...(findLinks.length > 0 ? { findLinks } : {}),
  };
}

export function splitWords(text: string | undefined): string[] {
  return (text ?? "").split(/[\s,]+/).filter((word) => word !== "");
}

function parseIni(text: string): Map<string, Map<string, string>> {
  const file = new Map<string, Map<string, string>>();
  let section = new Map<string, string>();
  let option = "";
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*([#;].*)?$/.test(line)) continue;
    const header = /^\[([^\]]+)\]/.exec(line)?.[1];
    if (header !== undefined) {
      section = file.get(header) ?? new Map();
      file.set(header, section);
    } else if (/^\s/.test(line)) {
      section.set(option, `${section.get(option) ?? ""} ${line.trim()}`);
    } else {
      const [, name = "", value = ""] = /^([^=:]+)[=:](.*)$/.exec(line) ?? [];
      option = name.trim().toLowerCase().replaceAll("_", "-");
      section.set(option, value.trim());
    }
  }
  return file;
}

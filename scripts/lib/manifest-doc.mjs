// docs/manifest.md as text: its tables and error messages come from the program, its prose from here.

const machine = { memoryBytes: 16 * 1024 ** 3, cpus: 4 };

/** `api`: the exports of src/manifest/{keys,policy,sizes,parse}.ts and the command that writes the file. */
export function renderManifestDoc(api) {
  const sections = [intro, table, groups, sizes, dependencies, errors, configObjects, policy];
  return `${sections.map((section) => section(api).trim()).join("\n\n")}\n`;
}

function intro({ command }) {
  return `# manifest.yaml

<!-- Made by \`${command}\` from src/manifest/keys.ts: edit that, or the prose in scripts/lib/manifest-doc.mjs. -->

A pack is a folder of node code with a \`manifest.yaml\`. Two lines make one:

\`\`\`yaml
name: my_node_pack
version: 1.0.0
\`\`\`

Everything else has a default. \`pyisolate check\` reads a manifest and says what is wrong with it; it needs no Docker.
An editor with a YAML language server checks and completes while you type, with this first line:

\`\`\`yaml
# yaml-language-server: $schema=./node_modules/pyisolate/dist/manifest/manifest.schema.json
\`\`\`

A manifest says what a pack asks for. What it may have is the operator's [policy](#the-policy).
Some keys ask for what this version cannot do. They are marked "not yet" below; a manifest that asks for such a thing is refused with \`ISOLATION_UNAVAILABLE\`, also by \`pyisolate check\`, and also where the policy grants it.`;
}

function table({ KEYS, MANIFEST_KEYS }) {
  const rows = MANIFEST_KEYS.map((key) => {
    const { defaultText, unit = "", description, notYet } = KEYS[key];
    const mark = notYet === undefined ? "" : notYet.isAsked && !notYet.instead ? " (not yet)" : " (not all yet)";
    return `| [\`${key}\`](#${key}) | ${defaultText} | ${unit} | ${firstSentence(description)}${mark} |`;
  });
  return ["## All keys", "", "| key | default | unit | meaning |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

function groups({ KEYS, MANIFEST_KEYS }) {
  const names = [...new Set(MANIFEST_KEYS.map((key) => KEYS[key].group))];
  return names
    .map((name) => {
      const keys = MANIFEST_KEYS.filter((key) => KEYS[key].group === name);
      return [`## ${name}`, ...keys.map((key) => keySection(key, KEYS[key]))].join("\n\n");
    })
    .join("\n\n");
}

function keySection(key, { description, schema, defaultText, unit, example, notYet }) {
  const facts = [`Default: ${defaultText}.`, `Expected: ${schema.errorMessage}.`, ...(unit ? [`Unit: ${unit}.`] : [])];
  return `### ${key}\n\n${description}${notYetText(notYet)}\n\n${facts.join(" ")}\n\n\`\`\`yaml\n${example}\n\`\`\``;
}

function notYetText(notYet) {
  if (notYet === undefined) return "";
  const { cannot, isAsked, instead } = notYet;
  const remedy = instead === undefined ? "Leave the key out." : `Leave the key out, or use ${instead}.`;
  const effect =
    isAsked === undefined
      ? "The key is read, and nothing is refused."
      : `A manifest that asks for it is refused. ${remedy}`;
  return `\n\n**Not yet:** this version cannot ${cannot}. ${effect}`;
}

function sizes({ SIZE_EXPECTED }) {
  return `## Sizes

Expected is ${SIZE_EXPECTED}. Units are powers of 1024, as Docker's: 1KB is 1024 bytes, 8GB is 8589934592.
Small letters, a fraction (\`1.5GB\`) and one space (\`512 MB\`) are accepted, other units (\`8G\`, \`8GiB\`, \`8 gigs\`) are not. The kernel counts in pages: limits are rounded down to whole ones.`;
}

function dependencies() {
  return `## Forms of a dependency

| form | example | is |
| --- | --- | --- |
| name, extras, versions, marker (PEP 508) | \`uvicorn[standard]>=0.30,<1; python_version < "3.13"\` | found by name in an index |
| address of a file | \`https://files.example.com/x-1.0-py3-none-any.whl\`, \`x @ https://…\` | a wheel; another file has to be built |
| git repository | \`git+https://example.com/repo.git@v1.0\` | has to be built; **not yet** |
| path in the pack's folder | \`./wheels/x-1.0-py3-none-any.whl\`, \`./library\` | a wheel; a folder has to be built, **not yet** |

What has to be built runs code of its author while it is built, so level \`untrusted\` of the policy refuses it. Git repositories and folders cannot be locked with hashes: this version refuses them when the image is built, whatever the policy says. Build a wheel of them, and list that. Each entry is one dependency on one line: line breaks, options (\`-r file\`, \`--index-url …\`), absolute paths and paths with \`..\` are errors.
Comments of YAML are fine: \`- numpy==1.26.4  # why\`.`;
}

function errors(api) {
  const context = { policy: api.defaultPolicy(), machine };
  const grant = "packs: {my_pack: {network: [api.example.com]}}";
  const granted = { policy: api.parsePolicy(grant, "policy.yaml"), machine };
  const head = "name: my_pack\nversion: 1.0.0\n";
  const cases = [
    "max_memroy: 4GB",
    "max_memory: 8 gigs",
    "dependencies: [-r requirements.txt]",
    "dependencies: [numpy==abc!]",
    "network: [*.example.com]",
    "python: 3.8",
    "isolated: yes",
    "name: again",
  ];
  const rows = cases.map(
    (line) => `| \`${line}\` | ${messageOf(() => api.parseManifest(head + line, "manifest.yaml", context))} |`,
  );
  return `## Errors

Every error has file, line and column, what was expected and what stands there; all problems of a file are listed, the first one first. The code is \`MANIFEST_INVALID\`, or \`POLICY_INVALID\` for a policy.

| third line of a manifest | message |
| --- | --- |
${rows.join("\n")}

What the policy does not allow has the code \`POLICY_REFUSED\`:

\`\`\`text
${messageOf(() => api.parseManifest(`${head}network: [api.example.com]`, "manifest.yaml", context), withNext)}
\`\`\`

What it allows and this version cannot do has the code \`ISOLATION_UNAVAILABLE\` and the same form:

\`\`\`text
${messageOf(() => api.parseManifest(`${head}network: [api.example.com]`, "manifest.yaml", granted), withNext)}
\`\`\`

Of YAML a manifest is one document with one mapping of keys to scalars, lists and mappings. Anchors (\`&x\`), aliases (\`*x\`), tags (\`!t\`), directives, a second document, a key twice and keys that are not text are errors. \`yes\`, \`no\`, \`on\` and \`off\` are text, as in YAML 1.2.`;
}

function configObjects() {
  return `## Manifests stated by a program

A host program can state any key of the manifest in an \`ExtensionConfig\`, under the same names and in the same forms. What it states goes before the pack's file; without a file, \`version\` may be left out. Unknown fields are errors that name the nearest known key; such errors begin with \`config:\` as there is no line.`;
}

function policy(api) {
  const levels = [...api.defaultPolicy().levels];
  const keys = [...new Set(levels.flatMap(([, level]) => Object.keys(level.caps)))];
  const names = levels.map(([name]) => name);
  const rows = keys.map(
    (key) => `| ${key} | ${levels.map(([, { caps }]) => capText(api, key, caps[key])).join(" | ")} |`,
  );
  const asked = "name: my_pack\nversion: 1.0.0\nnetwork: full\n";
  const refusal = messageOf(
    () => api.parseManifest(asked, "manifest.yaml", { policy: api.defaultPolicy(), machine }),
    withNext,
  );
  return `## The policy

The policy is the operator's file: it says how much a manifest may ask for. It is looked for at \`--policy FILE\`, else \`$XDG_CONFIG_HOME/pyisolate/policy.yaml\`, for root \`/etc/pyisolate/policy.yaml\`. Without a file the levels below hold and every pack is at level \`untrusted\`. Its schema is \`policy.schema.json\`.

\`\`\`yaml
levels:
  comfyui:
    defaults: {timeout: none, max_memory: 50%}   # what holds where a manifest is silent
    caps: {max_memory: 50%}                      # the most a manifest may ask for
packs:
  my_pack:
    level: comfyui
    network: full                                # what this pack may ask for besides
    trust_memory: true                           # host code looks at its results where they lie
share: [[pack_a, pack_b]]                        # tensors go between these two without a copy
segments: descriptor                             # or mounted
totals: {shm: 8GB}                               # shared memory of all packs of a program
\`\`\`

| key | meaning |
| --- | --- |
| levels | named sets of defaults and caps. A level of your own begins with the caps of \`untrusted\`; \`untrusted\` and \`trusted\` can be changed under their names |
| packs | by the name in the manifest: the level (default \`untrusted\`), and what this pack may ask for, in the form of a cap |
| packs.NAME.trust_memory | host code looks at this pack's results where they lie, without the safe copy. The pack could change them meanwhile |
| share | groups of packs that read each other's tensors where they lie, without a copy. A pack of a group can change what it sent while another reads it; a pack alone cannot |
| segments | how shared memory reaches packs: by descriptor (sealed, the default), or by a directory of the machine's /dev/shm that is mounted into the container. A program without koffi has only the second |
| totals | what all packs may have together. shm: bytes of shared memory of one program, a quarter of the machine's memory where it is silent; one pack has at most three quarters of it. memory, cpu_percent, packs: **read, not enforced yet** |
| network with a list of hosts | which hosts may be asked for. **Read, not enforced yet**: a manifest that asks for a list, or is given one by its level's defaults, is refused |
| other keys that are "not yet" above | what may be asked for. **Read, not enforced yet**: a manifest that asks for it is refused |

### Whose entry it is

**An entry holds for whatever pack states that name in its manifest.** Names are not checked against anything: any pack can call itself \`my_pack\` and gets what \`my_pack\` was granted, and with \`data\` the files that \`my_pack\` keeps. Grant something only where you know the folders that packs are loaded from, and read the name in a manifest before you load it. (Entries bound to a pack's content are a later step.)

A folder is granted by its real path: a mount whose source has a symbolic link in it is refused when the pack starts, because a pack that may write below could have planted it. A pack that is running at that moment could still swap a folder in the instant between this look and the mount, so mount nothing from below a folder that a pack may write.

### How a key is decided

1. A manifest that states a limit gets it if it is at most the cap; otherwise it does not start. A pack's own entry replaces the level's cap. What a level has as its default may be asked for, too.
2. Where a manifest is silent the level's default holds, else the one of the table above, each lowered to the cap.
3. \`network\`, \`mounts\`, \`gpu\`, \`indexes\`, \`find_links\`, \`services\`, \`routes\`, \`web\`, and a \`runtime\` other than \`runsc\` have to be granted: by a level's caps or defaults, or by the pack's entry, which adds to the level's lists. A grant allows asking; a manifest that does not ask does not get it. \`network: none\` in a pack's entry takes the level's network away. \`gpu: optional\` without a grant is no GPU.
4. A granted \`*.example.com\` covers every host below, a granted host without a port covers its ports 80 and 443, a granted folder covers the folders in it.
5. \`isolated: false\` has to stand in the pack's own entry. \`dependencies: source\` lets archives (\`.tar.gz\`) be built from source, \`wheels\` does not.
6. \`max_cpu_percent\` is never more than the machine has. \`max_memory\` may be a part of the machine: \`50%\`.

### The built-in levels

| cap | ${names.join(" | ")} |
| --- | ${names.map(() => "---").join(" | ")} |
${rows.join("\n")}

### When a manifest asks for more

The code is \`POLICY_REFUSED\`. The message names the key, what was asked and what is allowed; the next step is the lines to add:

\`\`\`text
${refusal}
\`\`\``;
}

function capText({ approximateSize }, key, cap) {
  if (cap === undefined) return key === "network" || key === "gpu" ? "not granted" : "no cap";
  if (key === "timeout") return `${cap / 1000} seconds`;
  if (key === "max_pids" || typeof cap === "string" || typeof cap === "boolean") return String(cap);
  if (typeof cap === "number") return approximateSize(cap);
  return `${cap.percent} % of the machine, or ${approximateSize(cap.atLeastBytes)} if that is more`;
}

function messageOf(run, show = (error) => error.message.replaceAll("|", "\\|")) {
  try {
    run();
  } catch (error) {
    if (error.name === "PyisolateError") return show(error);
    throw error;
  }
  throw new Error("expected an error to show in docs/manifest.md");
}

function withNext(error) {
  return `${error.message}\n${error.details.next}`;
}

function firstSentence(text) {
  const end = /[.;:] (?=[A-Z`])|: (?=by name)/.exec(text);
  return end === null ? text.replace(/\.$/, "") : text.slice(0, end.index);
}

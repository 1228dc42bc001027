// Dockerfiles of the links above the base. Constant texts: what a pack asks for reaches a step only as files of the context,
// so nothing of a manifest can become an instruction or a shell word. References come as build arguments in front of FROM.
// Only what every BuildKit since Docker 20.10 knows: no `# syntax=` line, no heredocs.
// Nothing of a pack runs in a step, unless its trust lets it build from source: wheels are only unpacked, and bytecode is
// compiled by the base's own interpreter, which does not look at /opt/env (a wheel may bring .pth files or a pyvenv.cfg).
// Mount points lie under /run/build; a layer keeps them as empty files and folders at most.

const host = "--mount=type=bind,source=host,target=/run/build/host";
const tools = `--mount=type=bind,from=uv,source=/uv,target=/run/build/uv \\
    --mount=type=bind,from=wheelhouse,target=/run/build/wheelhouse \\
    ${host} \\
    --mount=type=bind,source=lock,target=/run/build/lock`;

const withTools = `ARG PARENT
ARG UV
ARG WHEELHOUSE=scratch
FROM \${UV} AS uv
FROM \${WHEELHOUSE} AS wheelhouse
`;

/** uv's cache, shared by packs of the same trust: a pack that may run code in a build must not feed one that may not. */
function uvCache(wheelsOnly: boolean): string {
  return `--mount=type=cache,id=pyisolate-uv-${wheelsOnly ? "untrusted" : "trusted"},target=/run/build/cache`;
}

function onlyWheels(wheelsOnly: boolean): string {
  return wheelsOnly ? " --only-binary :all:" : "";
}

const uvEnvironment = ". /run/build/host/env; export UV_LINK_MODE=copy UV_CACHE_DIR=/run/build/cache UV_NO_PROGRESS=1";

const compile = "/usr/local/bin/python -I -S -m compileall -q";
/** Code that does not compile is left to fail when it is imported. */
const ifPossible = "> /dev/null || true";

/** Debian packages. Context: packages.txt, one name a line. */
export const systemDockerfile = `ARG PARENT
FROM \${PARENT}
RUN --mount=type=bind,source=packages.txt,target=/run/build/packages.txt \\
    set -eu; export DEBIAN_FRONTEND=noninteractive; \\
    apt-get update -q; \\
    xargs -d '\\n' -a /run/build/packages.txt apt-get install -q -y --no-install-recommends --; \\
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
`;

/** Resolves lock/requirements.txt to /lock.txt, in an image that holds nothing else. */
export function lockDockerfile(wheelsOnly: boolean): string {
  return `${withTools}FROM \${PARENT} AS resolved
RUN ${tools} \\
    ${uvCache(wheelsOnly)} \\
    set -eu; ${uvEnvironment}; cd /run/build/lock; \\
    /run/build/uv pip compile --python /opt/env/bin/python --generate-hashes --no-header --no-annotate${onlyWheels(wheelsOnly)} \\
      --output-file /lock.txt requirements.txt > /dev/null
FROM scratch
COPY --from=resolved /lock.txt /lock.txt
`;
}

/** Installs lock/lock.txt into /opt/env, then compiles it in a step that has none of the first one's mounts. */
export function dependenciesDockerfile(wheelsOnly: boolean): string {
  return `${withTools}FROM \${PARENT}
RUN ${tools} \\
    ${uvCache(wheelsOnly)} \\
    set -eu; ${uvEnvironment}; cd /run/build/lock; \\
    /run/build/uv pip install --python /opt/env/bin/python --no-deps --require-hashes${onlyWheels(wheelsOnly)} \\
      --requirements lock.txt
RUN ${compile} -j 0 /opt/env/lib/python3*/site-packages ${ifPossible}
`;
}

/** The pack's source, from pack/ of the context. */
export const sourceDockerfile = `ARG PARENT
FROM \${PARENT}
RUN --mount=type=bind,source=pack,target=/run/build/pack \\
    set -eu; cp -R --preserve=mode,timestamps /run/build/pack/. /pack/; \\
    ${compile} /pack ${ifPossible}
`;

/** The pack runtime, from runtime/ of the context. Compiled on the base, so that all packs of a Python share that step. */
export const runtimeDockerfile = `ARG PARENT
ARG BASE
FROM \${BASE} AS compiled
COPY runtime /opt/pyisolate/
RUN ${compile} /opt/pyisolate
FROM \${PARENT}
COPY --from=compiled /opt/pyisolate /opt/pyisolate
`;

/** Wheels of the host's find-links folders, from wheels/ of the context. */
export const wheelhouseDockerfile = `FROM scratch
COPY wheels /
`;

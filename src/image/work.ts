// Work: one build call, as every part of the image chain makes it: reported, shared, timed, and free of secrets.

import type { Engine, Labels } from "../engine/engine.ts";
import { PyisolateError } from "../errors.ts";
import { type ContextEntry, packContext } from "./context.ts";
import { type HostSettings, makeRedactor } from "./host.ts";
import { type BuildPart, forPart, type ReportProgress } from "./progress.ts";
import type { ImageSettings } from "./settings.ts";

/** What the image chain works with. */
export interface ImageContext {
  readonly engine: Engine;
  /** Folder of the store (src/store). */
  readonly storeDirectory: string;
  readonly host: HostSettings;
  readonly settings: ImageSettings;
  /** Asked for when a build makes something for itself: the labels by which that is found when this program is killed. */
  readonly ownerLabels: () => Promise<Labels>;
  readonly signal?: AbortSignal;
  readonly onProgress?: ReportProgress;
}

export interface ImageBuild {
  readonly reference: string;
  readonly labels: Labels;
  /** Text of the Dockerfile. */
  readonly dockerfile: string;
  readonly entries: readonly ContextEntry[];
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly network: "default" | "none";
  /** Gets every line that steps print. */
  readonly onLog?: (line: string) => void;
}

const dockerfilePath = "Dockerfile";

/** Builds one image. Raises IMAGE_BUILD_FAILED, SOURCE_INVALID, engine errors, or the signal's reason. */
export async function runBuild(context: ImageContext, part: BuildPart, build: ImageBuild): Promise<void> {
  const redact = makeRedactor(context.host);
  const report = forPart(context.onProgress ?? (() => {}), part, redact);
  const tar = packContext([{ type: "text", path: dockerfilePath, content: build.dockerfile }, ...build.entries]);
  try {
    await context.engine.images.build(tar, {
      reference: build.reference,
      dockerfile: dockerfilePath,
      labels: build.labels,
      buildArgs: build.buildArgs,
      network: build.network,
      onProgress: (event) => {
        if (event.type === "log") build.onLog?.(redact(event.line));
        report(event);
      },
      ...(context.signal === undefined ? {} : { signal: context.signal }),
    });
  } catch (error) {
    throw withoutSecrets(error, redact);
  }
}

/** Does `work` for a part, with its `started` and `built` around it. Gives the milliseconds it took. */
export async function reported(context: ImageContext, part: BuildPart, work: () => Promise<void>): Promise<number> {
  const startMs = performance.now();
  context.onProgress?.({ type: "started", link: part });
  await work();
  const ms = performance.now() - startMs;
  context.onProgress?.({ type: "built", link: part, ms });
  return ms;
}

/** Does `work`, and names what was cancelled when the context's signal ends it. Raises CALL_CANCELLED then. */
export async function orCancelled<T>(context: ImageContext, what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (context.signal?.aborted !== true || error !== context.signal.reason) throw error;
    const next = "Build it again: what was finished is kept.";
    throw new PyisolateError("CALL_CANCELLED", `building ${what} was cancelled`, { next }, error);
  }
}

export function note(context: ImageContext, part: BuildPart, text: string): void {
  context.onProgress?.({ type: "note", link: part, text: makeRedactor(context.host)(text) });
}

function withoutSecrets(error: unknown, redact: (text: string) => string): unknown {
  if (!(error instanceof PyisolateError)) return error;
  const { logTail, step } = error.details;
  return new PyisolateError(error.code, redact(error.message), {
    ...error.details,
    ...(typeof step === "string" ? { step: redact(step) } : {}),
    ...(logTail === undefined ? {} : { logTail: logTail.map(redact) }),
  });
}

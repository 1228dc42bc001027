// PublicImage: an image of a public registry, present on the engine or not to be had.

import { isPyisolateError } from "../errors.ts";
import { makeRedactor } from "./host.ts";
import { type BuildPart, forPart } from "./progress.ts";
import type { ImageContext } from "./work.ts";

/** Pulls `reference` unless the engine has it. Gives why it cannot be pulled, in one line, or undefined. */
export async function ensurePresent(
  context: ImageContext,
  part: BuildPart,
  reference: string,
): Promise<string | undefined> {
  const { engine, signal, onProgress = () => {} } = context;
  if ((await engine.images.inspect(reference)) !== undefined) return undefined;
  try {
    await engine.images.pull(reference, {
      onProgress: forPart(onProgress, part, makeRedactor(context.host)),
      ...(signal === undefined ? {} : { signal }),
    });
    return undefined;
  } catch (error) {
    if (!isPyisolateError(error, "ENGINE_FAILED")) throw error;
    return error.message;
  }
}

// Target "manifest": the text of a manifest.yaml. Whatever it is, it is a manifest or one of our errors.

import { isPyisolateError } from "../../../src/errors.ts";
import { parseManifest } from "../../../src/manifest/parse.ts";
import { defaultPolicy } from "../../../src/manifest/policy.ts";
import { guarded } from "./guard.ts";

const context = { policy: defaultPolicy(), machine: { memoryBytes: 16 * 1024 ** 3, cpus: 4 } };

export const fuzz = guarded((input) => {
  try {
    parseManifest(input.toString(), "manifest.yaml", context);
  } catch (error) {
    if (!isPyisolateError(error)) throw error;
  }
});

// Policy schema: the form of policy.yaml, made from the rows of keys.ts. What the values mean is policy.ts and resolve.ts.

import { type JsonSchema, KEYS, MANIFEST_KEYS, NAME_PATTERN } from "./keys.ts";
import { PERCENT_PATTERN, SIZE_EXPECTED, SIZE_PATTERN } from "./sizes.ts";

/** Keys of a manifest for which a policy can say how much a pack may ask for. */
export const CAP_KEYS = MANIFEST_KEYS.filter((key) => KEYS[key].cap !== undefined);
/** Keys for which a level can say what holds where a manifest is silent. */
export const LEVEL_DEFAULT_KEYS = MANIFEST_KEYS.filter((key) => KEYS[key].hasLevelDefault === true);

/** What the machine's packs may have together. Read, and not enforced yet. */
const TOTALS: Readonly<Record<"memory" | "cpu_percent" | "shm" | "packs", JsonSchema>> = {
  memory: {
    type: ["string", "integer"],
    minimum: 1,
    pattern: `${SIZE_PATTERN}|${PERCENT_PATTERN}`,
    errorMessage: `${SIZE_EXPECTED}, or a part of the machine such as 50%`,
  },
  cpu_percent: { type: "integer", minimum: 1, errorMessage: "a whole number of percent of one core" },
  shm: { type: ["string", "integer"], minimum: 1, pattern: SIZE_PATTERN, errorMessage: SIZE_EXPECTED },
  packs: { type: "integer", minimum: 1, errorMessage: "a whole number of packs" },
};

const isolated: JsonSchema = {
  const: false,
  errorMessage: "false, which lets the pack run inside a Python host",
};

/** The schema of policy.yaml, shipped as policy.schema.json. */
export function policySchema(): JsonSchema {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "pyisolate policy.yaml",
    ...mapping("a mapping of the policy's keys", {
      levels: named("levels", {
        ...mapping("a mapping with defaults and caps", {
          defaults: mapping("a mapping of a manifest's keys", defaultsOf()),
          caps: mapping("a mapping of a manifest's keys", capsOf()),
        }),
      }),
      packs: named(
        "packs",
        mapping("a mapping with level, trust_memory and what the pack may ask for", {
          level: { type: "string", pattern: NAME_PATTERN, errorMessage: "the name of a level" },
          trust_memory: { type: "boolean", errorMessage: "true or false" },
          isolated,
          ...capsOf(),
        }),
      ),
      share: {
        type: "array",
        items: {
          type: "array",
          minItems: 2,
          items: { type: "string", pattern: NAME_PATTERN, errorMessage: "the name of a pack" },
          errorMessage: "a list of two or more packs that share memory",
        },
        errorMessage: "a list of groups of packs",
      },
      segments: { enum: ["descriptor", "mounted"], errorMessage: "descriptor or mounted" },
      totals: mapping("a mapping with memory, cpu_percent, shm and packs", TOTALS),
    }),
  };
}

function capsOf(): Record<string, JsonSchema> {
  return Object.fromEntries(CAP_KEYS.map((key) => [key, KEYS[key].cap as JsonSchema]));
}

/** A level may state its default for memory as a part of the machine. */
function defaultsOf(): Record<string, JsonSchema> {
  return Object.fromEntries(
    LEVEL_DEFAULT_KEYS.map((key) => [key, key === "max_memory" ? (KEYS[key].cap as JsonSchema) : KEYS[key].schema]),
  );
}

function mapping(expected: string, properties: Readonly<Record<string, JsonSchema>>): JsonSchema {
  return { type: "object", properties, additionalProperties: false, errorMessage: expected };
}

function named(noun: string, value: JsonSchema): JsonSchema {
  return {
    type: "object",
    propertyNames: { pattern: NAME_PATTERN, errorMessage: "a name of letters, digits, dots, dashes and underscores" },
    additionalProperties: value,
    errorMessage: `a mapping of the names of ${noun} to what holds for them`,
  };
}

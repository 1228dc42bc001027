// Schema: the rows of keys.ts as the JSON Schema 2020-12 of a manifest (the policy's is policy-schema.ts), and ajv's findings in our own words.
// errorMessage is ours: what was expected there. Editors that know the keyword show it, others ignore it.

import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { type JsonSchema, KEYS, MANIFEST_KEYS } from "./keys.ts";
import { policySchema } from "./policy-schema.ts";
import type { Problems, Source } from "./problems.ts";
import { describe, nearestHint, pointerTo, quote } from "./text.ts";

/**
 * The schema of manifest.yaml, shipped as manifest.schema.json.
 * @public scripts/manifest-doc.mjs imports it under a computed path
 */
export function manifestSchema(): JsonSchema {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "pyisolate manifest.yaml",
    type: "object",
    properties: Object.fromEntries(
      MANIFEST_KEYS.map((key) => [key, { description: KEYS[key].description, ...KEYS[key].schema }]),
    ),
    required: MANIFEST_KEYS.filter((key) => KEYS[key].fallback === undefined),
    additionalProperties: false,
    errorMessage: "a mapping of the manifest's keys",
  };
}

export type SchemaName = "manifest" | "policy";

const SCHEMAS: Readonly<Record<SchemaName, () => JsonSchema>> = { manifest: manifestSchema, policy: policySchema };
const validators = new Map<SchemaName, ValidateFunction>();

/** Holds `source` against a schema and notes every difference in `problems`. The schema is compiled when first used. */
export function checkShape(name: SchemaName, source: Source, problems: Problems): void {
  const validate = validators.get(name) ?? compile(name);
  if (validate(source.data)) return;
  for (const error of validate.errors ?? []) addError(error, source, problems);
}

function compile(name: SchemaName): ValidateFunction {
  const ajv = new Ajv2020({
    allErrors: true,
    verbose: true,
    ownProperties: true,
    strictTypes: false,
    strictRequired: false,
  });
  ajv.addKeyword({ keyword: "errorMessage", schemaType: "string" });
  const validate = ajv.compile(SCHEMAS[name]());
  validators.set(name, validate);
  return validate;
}

function addError(error: ErrorObject, source: Source, problems: Problems): void {
  const { instancePath, keyword, params, data, propertyName } = error;
  const parent = error.parentSchema as { errorMessage?: string; properties?: object };
  if (keyword === "if" || keyword === "propertyNames") return;
  if (keyword === "additionalProperties") {
    const key = String(params.additionalProperty);
    const known = Object.keys(parent.properties ?? {});
    problems.addAt(
      source,
      pointerTo(instancePath, key),
      `unknown key ${quote(key)}, ${nearestHint(key, known, "key")}`,
      "key",
    );
  } else if (keyword === "required") {
    const key = String(params.missingProperty);
    problems.addAt(source, pointerTo(instancePath, key), "this key is required and missing");
  } else if (propertyName !== undefined) {
    const message = `expected ${parent.errorMessage}, got ${quote(propertyName)}`;
    problems.addAt(source, pointerTo(instancePath, propertyName), message, "key");
  } else {
    problems.addAt(source, instancePath, `expected ${parent.errorMessage}, got ${describe(data)}`);
  }
}

// Command-line text → node input values, read by the type the node declares for the input.

import { PyisolateError } from "../errors.ts";
import { choicesOf, unknownInput } from "../extension/inputs.ts";
import type { NodeInput, NodeSchema } from "../extension/schema.ts";
import { readMask, readPicture } from "../picture/picture.ts";
import type { Value } from "../rpc/values.ts";

/**
 * Reads `name=text` words. Files named by IMAGE and MASK inputs are read here.
 * Raises USAGE for a word without `=` or a name given twice; INPUT_INVALID for an unknown name or a text that does not
 * fit the declared type; PICTURE_INVALID.
 */
export async function readInputs(schema: NodeSchema, words: readonly string[]): Promise<Record<string, Value>> {
  const texts = splitWords(words);
  const inputs: Record<string, Value> = {};
  for (const [name, text] of texts) {
    const input = schema.inputs.find((candidate) => candidate.name === name);
    if (input === undefined) throw unknownInput(schema, name);
    inputs[name] = await readInput(schema, input, text);
  }
  return inputs;
}

function splitWords(words: readonly string[]): Map<string, string> {
  const texts = new Map<string, string>();
  for (const word of words) {
    const at = word.indexOf("=");
    if (at < 1) {
      throw new PyisolateError("USAGE", `--input "${word}" has no name, expected name=value`, {
        next: "For example: --input strength=0.5",
      });
    }
    const name = word.slice(0, at);
    if (texts.has(name))
      throw new PyisolateError("USAGE", `--input ${name} was given twice`, { next: "Give it once." });
    texts.set(name, word.slice(at + 1));
  }
  return texts;
}

async function readInput(schema: NodeSchema, input: NodeInput, text: string): Promise<Value> {
  switch (input.type) {
    case "INT":
      if (!/^[+-]?\d+$/.test(text)) throw refused(schema, input, text, "an integer such as 42");
      return integer(BigInt(text.replace(/^\+/, "")));
    case "FLOAT":
      if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|^nan$|^[+-]?inf$/i.test(text)) {
        throw refused(schema, input, text, "a number such as 0.5");
      }
      return Number(text.replace(/inf$/i, "Infinity"));
    case "BOOLEAN":
      if (!/^(true|false)$/i.test(text)) throw refused(schema, input, text, "true or false");
      return text.toLowerCase() === "true";
    case "STRING":
      return text;
    case "COMBO": {
      const choices = choicesOf(input);
      if (choices === undefined) return text;
      const choice = choices.find((candidate) => String(candidate) === text);
      if (choice === undefined) throw refused(schema, input, text, `one of ${choices.map(String).join(", ")}`);
      return choice;
    }
    case "IMAGE":
      return readPicture(text);
    case "MASK":
      return readMask(text);
    default:
      throw new PyisolateError(
        "INPUT_INVALID",
        `input "${input.name}" of node "${schema.id}" has type ${input.type}, which cannot be given on the command line`,
        { next: "Call the node from a program: extension.executeNode(…)." },
      );
  }
}

function integer(value: bigint): number | bigint {
  const isSafe = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER);
  return isSafe ? Number(value) : value;
}

function refused(schema: NodeSchema, input: NodeInput, text: string, expected: string): PyisolateError {
  return new PyisolateError(
    "INPUT_INVALID",
    `input "${input.name}" of node "${schema.id}" expects ${expected} (${input.type}), got "${text}"`,
    { next: `Write --input ${input.name}=…` },
  );
}

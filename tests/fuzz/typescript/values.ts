// Target "values": the body of a result. What decodes must encode again, to a text that decodes to an equal value.
// Input: the JSON text, whole. The attachments it lists hold a pattern.

import { isDeepStrictEqual } from "node:util";
import { closeBody, decodeValue, type IncomingBody, parseBody, resultBody } from "../../../src/rpc/bodies.ts";
import { areaBytes, areaParts } from "../../../src/rpc/frame.ts";
import { OutgoingAttachments, type Value, ValueCodec } from "../../../src/rpc/values.ts";
import { inlineTensors } from "../../../src/tensor/inline.ts";
import { guarded, keepsProtocol } from "./guard.ts";

const codec = new ValueCodec({ extension: inlineTensors, isLossless: true });
const maxAreaBytes = 64 * 1024;
/** Comparing sets takes the square of their sizes. */
const maxComparedChars = 2000;

export const fuzz = guarded(accepts);

/** Whether the body is one. */
export function accepts(input: Buffer): boolean {
  let value: Value = null;
  const isBody = keepsProtocol(() => {
    value = decode(input);
  });
  if (isBody) checkRoundTrip(value);
  return isBody;
}

function checkRoundTrip(value: Value): void {
  const first = encode(value);
  const again = decode(Buffer.from(first.text), first.area);
  const second = encode(again);
  if (first.text !== second.text || !first.area.equals(second.area)) {
    throw new Error(`encodes to ${first.text}, which decodes to what encodes to ${second.text}`);
  }
  if (first.text.length <= maxComparedChars && !isDeepStrictEqual(value, again)) {
    throw new Error(`${first.text} decodes to a value that is not equal to the one it was made of`);
  }
}

function decode(text: Buffer, area?: Buffer): Value {
  const body = parseBody("result", text, 0, text.byteLength, maxAreaBytes);
  return decodeValue(body.fields.value, body, area ?? pattern(body), codec);
}

function pattern({ lengths }: IncomingBody): Buffer {
  return Buffer.alloc(areaBytes(lengths), Buffer.from([...Array(61).keys()]));
}

function encode(value: Value): { text: string; area: Buffer } {
  const body = resultBody(value, codec, new OutgoingAttachments());
  return { text: closeBody(body), area: Buffer.concat(areaParts(body.attachments)) };
}

// Stream: the two framings of Docker's answers. Pure over bytes.

import { StringDecoder } from "node:string_decoder";

/** The objects of a stream that holds one JSON object a line. */
export async function* readJsonLines(stream: NodeJS.ReadableStream): AsyncGenerator<Readonly<Record<string, unknown>>> {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.write(chunk as Buffer)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") yield JSON.parse(line);
  }
  if (rest.trim() !== "") yield JSON.parse(rest);
}

/** The text of a log without a terminal: blocks of an 8-byte header (stream, 0, 0, 0, u32 big-endian length) and bytes. */
export function joinLogBlocks(log: Buffer): string {
  const blocks: Buffer[] = [];
  for (let at = 0; at + 8 <= log.length; ) {
    const length = log.readUInt32BE(at + 4);
    blocks.push(log.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return Buffer.concat(blocks).toString("utf8");
}

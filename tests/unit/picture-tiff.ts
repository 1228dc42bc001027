// A TIFF of one uncompressed strip, for tests: what cameras and editors write as floats or wide integers, sharp cannot write.

type Samples = Float32Array | Int16Array | Uint32Array;

/** `samples` row by row, the channels of a pixel side by side: 1 is grey, 3 is RGB. */
export function tiffOf(samples: Samples, { width, channels }: { width: number; channels: 1 | 3 }): Buffer {
  const height = samples.length / width / channels;
  const sampleFormat = samples instanceof Float32Array ? 3 : samples instanceof Int16Array ? 2 : 1;
  const bits = samples.BYTES_PER_ELEMENT * 8;
  const shorts = { bits: Array(channels).fill(bits), format: Array(channels).fill(sampleFormat) };
  const headBytes = 256;
  const entries: readonly [tag: number, values: readonly number[]][] = [
    [256, [width]],
    [257, [height]],
    [258, shorts.bits],
    [259, [1]], // no compression
    [262, [channels === 3 ? 2 : 1]],
    [273, [headBytes]],
    [277, [channels]],
    [278, [height]],
    [279, [samples.byteLength]],
    [339, shorts.format],
  ];
  const head = Buffer.alloc(headBytes);
  head.write("II*\0", 0, "latin1");
  head.writeUInt32LE(8, 4);
  head.writeUInt16LE(entries.length, 8);
  let longAt = 10 + entries.length * 12 + 4;
  for (const [index, [tag, values]] of entries.entries()) {
    const at = 10 + index * 12;
    head.writeUInt16LE(tag, at);
    head.writeUInt16LE(3, at + 2); // unsigned 16 bits
    head.writeUInt32LE(values.length, at + 4);
    const isShort = values.length <= 2;
    if (!isShort) head.writeUInt32LE(longAt, at + 8);
    for (const value of values) {
      const place: number = isShort ? at + 8 + 2 * values.indexOf(value) : longAt;
      head.writeUInt16LE(value, place);
      if (!isShort) longAt += 2;
    }
  }
  return Buffer.concat([head, Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength)]);
}

// Sizes: text ↔ bytes. Units are powers of 1024, as Docker's 8g.

const UNIT_BYTES = { B: 1, KB: 1024, MB: 1024 ** 2, GB: 1024 ** 3, TB: 1024 ** 4 } as const;

export const GB = UNIT_BYTES.GB;

/** What `parseSize` takes, as a JSON Schema pattern (which has no flags). */
export const SIZE_PATTERN = "^([0-9]{1,16}( ?[bB])?|[0-9]{1,12}(\\.[0-9]{1,6})? ?[kKmMgGtT][bB])$";
export const PERCENT_PATTERN = "^[1-9][0-9]?%$|^100%$";
export const SIZE_EXPECTED = "a size: a number of bytes, or a number with B, KB, MB, GB or TB, such as 8GB or 512MB";

/** A part of the machine's memory, which only a policy may state. */
export interface MemoryShare {
  readonly percent: number;
  /** The share counts as at least this much. */
  readonly atLeastBytes?: number;
}

/** Bytes of "8GB", "1.5 GB", "4096" or 4096, rounded down; the text has passed SIZE_PATTERN. */
export function parseSize(raw: string | number): number {
  if (typeof raw === "number") return raw;
  const [, count = "0", unit = "B"] = /^([\d.]+) ?([a-z]*)$/i.exec(raw) ?? [];
  return Math.floor(Number(count) * (UNIT_BYTES[(unit || "B").toUpperCase() as keyof typeof UNIT_BYTES] ?? 1));
}

/** Text that `parseSize` reads back as the same number: "8GB", "1.5GB" or plain bytes. */
export function formatSize(bytes: number): string {
  for (const unit of ["TB", "GB", "MB", "KB"] as const) {
    const count = bytes / UNIT_BYTES[unit];
    if (count >= 1 && Number.isInteger(count * 4)) return `${count}${unit}`;
  }
  return `${bytes}B`;
}

/** A size for people, rounded down to two decimals: "17.65GB". */
export function approximateSize(bytes: number): string {
  for (const unit of ["TB", "GB", "MB", "KB"] as const) {
    const count = bytes / UNIT_BYTES[unit];
    if (count >= 1) return `${Math.floor(count * 100) / 100}${unit}`;
  }
  return `${bytes}B`;
}

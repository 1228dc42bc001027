// Report: rows → text for people. The rows themselves, as JSON, are for programs.

import type { Row } from "./row.ts";
import type { Spread } from "./statistics.ts";

export function formatRow(row: Row, title: string): string {
  const { ours, limit } = row;
  const lines: readonly (readonly [string, Spread])[] = [
    ["ours", ours],
    ...row.rivals.map((rival) => [rival.name, rival] as const),
    ...(limit === undefined ? [] : [[`limit: ${limit.name}`, limit] as const]),
  ];
  const verb = row.unit === "calls/s" ? "does" : "takes";
  const width = Math.max(...lines.map(([name]) => name.length));
  const body = lines.map(([name, spread]) => {
    const ratio =
      spread === ours || spread.p50 === 0 ? "" : `   ours ${verb} ${(ours.p50 / spread.p50).toPrecision(3)} ×`;
    return `  ${name.padEnd(width)}   p50 ${amount(spread.p50)}   p95 ${amount(spread.p95)} ${row.unit}${ratio}`;
  });
  return [
    `${row.id} ${title} · ${row.variant} · ${row.host} host · n ${row.n}`,
    ...body,
    ...(row.notes ?? []).map((note) => `  ${note}`),
    `  goal: ${row.goal}: ${row.met ? "met" : "MISSED"}`,
  ].join("\n");
}

function amount(value: number): string {
  const digits = value >= 100 || value === 0 ? 0 : value >= 1 ? 2 : 4;
  return value.toFixed(digits).padStart(8);
}

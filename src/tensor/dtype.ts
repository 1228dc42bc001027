// Dtype: the one table of element types that may travel, after docs/protocol.md. Must not know shapes or bytes.

/** Units of datetime64 and timedelta64: 64-bit counts, the smallest value is "not a time". */
const TIME_UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"] as const;

/** Name as numpy and torch spell it → bytes per element, and the typed array that shows its elements. */
const NUMBERS = {
  bool: [1, Uint8Array],
  uint8: [1, Uint8Array],
  int8: [1, Int8Array],
  uint16: [2, Uint16Array],
  int16: [2, Int16Array],
  uint32: [4, Uint32Array],
  int32: [4, Int32Array],
  uint64: [8, BigUint64Array],
  int64: [8, BigInt64Array],
  float16: [2, Uint16Array],
  bfloat16: [2, Uint16Array],
  float32: [4, Float32Array],
  float64: [8, Float64Array],
  complex64: [8, Float32Array],
  complex128: [16, Float64Array],
  float8_e4m3fn: [1, Uint8Array],
  float8_e4m3fnuz: [1, Uint8Array],
  float8_e5m2: [1, Uint8Array],
  float8_e5m2fnuz: [1, Uint8Array],
  float8_e8m0fnu: [1, Uint8Array],
} as const;

type TimeUnit = (typeof TIME_UNITS)[number];

export type Dtype = keyof typeof NUMBERS | `datetime64[${TimeUnit}]` | `timedelta64[${TimeUnit}]`;

/**
 * Elements as they lie in memory. bool is 0 and 1; float16, bfloat16 and float8 are their bits; complex numbers are two
 * floats each, real part first; times are 64-bit counts of their unit.
 */
export type TypedArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

type TypedArrayConstructor = (typeof NUMBERS)[keyof typeof NUMBERS][1];

interface DtypeRow {
  readonly itemBytes: number;
  readonly array: TypedArrayConstructor;
}

const TIMES = ["datetime64", "timedelta64"].flatMap((kind) => TIME_UNITS.map((unit) => `${kind}[${unit}]`));

export const DTYPES = Object.fromEntries<DtypeRow>([
  ...Object.entries(NUMBERS).map(([name, [itemBytes, array]]): [string, DtypeRow] => [name, { itemBytes, array }]),
  ...TIMES.map((name): [string, DtypeRow] => [name, { itemBytes: 8, array: BigInt64Array }]),
]) as Readonly<Record<Dtype, DtypeRow>>;

export function isDtype(name: unknown): name is Dtype {
  return typeof name === "string" && Object.hasOwn(DTYPES, name);
}

// Freeze: makes plain data and maps unchangeable, all the way down.

/** Freezes `value` in place and gives it back. Maps lose their mutators, since Object.freeze does not reach their entries. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  if (value instanceof Map) {
    for (const inner of value.values()) deepFreeze(inner);
    for (const mutator of ["set", "delete", "clear"]) Object.defineProperty(value, mutator, { value: refuseChange });
  }
  Object.freeze(value);
  for (const inner of Object.values(value)) deepFreeze(inner);
  return value;
}

function refuseChange(): never {
  throw new TypeError("this map is frozen");
}

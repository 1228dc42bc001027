// Layout: shapes, strides and offsets against a model that walks every index.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  checkLayout,
  checkShape,
  collapse,
  copyElements,
  cStrides,
  expand,
  isCOrder,
  planCopy,
  span,
} from "../../src/tensor/layout.ts";

interface Layout {
  readonly shape: number[];
  readonly strides: number[];
}

const layouts: fc.Arbitrary<Layout> = fc
  .array(fc.record({ count: fc.nat(4), stride: fc.integer({ min: -7, max: 7 }) }), { maxLength: 5 })
  .map((axes) => ({ shape: axes.map(({ count }) => count), strides: axes.map(({ stride }) => stride) }));

/** Positions of the elements in C order, counted from element [0, …, 0]. */
function positions({ shape, strides }: Layout): number[] {
  return shape.reduce<number[]>(
    (found, count, axis) =>
      found.flatMap((start) => Array.from({ length: count }, (_, index) => start + index * (strides[axis] as number))),
    [0],
  );
}

const itemBytes = fc.constantFrom(1, 2, 4, 8, 16);

function randomBytes(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 167 + (index >> 8)) & 255);
}

/** The elements in C order. */
function gather(source: Uint8Array, offset: number, size: number, layout: Layout): number[] {
  return positions(layout).flatMap((position) => [
    ...source.subarray(offset + position * size, offset + (position + 1) * size),
  ]);
}

test("span is from the first to the end of the last element that any index reaches", () => {
  fc.assert(
    fc.property(layouts, (layout) => {
      const found = positions(layout);
      const expected =
        found.length === 0 ? { low: 0, high: 0 } : { low: Math.min(...found), high: Math.max(...found) + 1 };
      const { low, high } = span(layout.shape, layout.strides);
      expect({ low, high }).toEqual(expected);
    }),
  );
});

test("isCOrder is true exactly when the elements lie one after another", () => {
  fc.assert(
    fc.property(layouts, fc.boolean(), (layout, isOrdered) => {
      const strides = isOrdered ? cStrides(layout.shape) : layout.strides;
      const found = positions({ shape: layout.shape, strides });
      expect(isCOrder(layout.shape, strides)).toBe(found.every((position, index) => position === index));
    }),
  );
});

test("checkLayout accepts exactly what lies inside, and says where", () => {
  fc.assert(
    fc.property(layouts, fc.nat(40), fc.nat(60), (layout, offset, room) => {
      const found = positions(layout).map((position) => offset + 2 * position);
      const isInside = found.every((at) => at >= 0 && at + 2 <= room) && offset % 2 === 0;
      const check = () => checkLayout("int16", layout.shape, layout.strides, offset, room);
      if (found.length === 0) return; // below
      if (!isInside) expect(check).toThrowError(expect.objectContaining({ code: "TENSOR_INVALID" }));
      else expect(check()).toEqual({ start: Math.min(...found), end: Math.max(...found) + 2 });
    }),
  );
});

test("copyElements writes the elements in C order, whatever the strides, sizes and alignment", () => {
  fc.assert(
    fc.property(layouts, itemBytes, fc.nat(3), fc.nat(3), (layout, size, shift, targetShift) => {
      const { low, high } = span(layout.shape, layout.strides);
      const source = randomBytes(shift + (high - low) * size).subarray(shift);
      const expected = gather(source, -low * size, size, layout);
      const target = new Uint8Array(targetShift + expected.length + 5).subarray(
        targetShift,
        targetShift + expected.length,
      );
      copyElements(target, source, -low * size, size, layout.shape, layout.strides);
      expect([...target]).toEqual(expected);
    }),
  );
});

test("copyElements copies long runs and large rows", () => {
  const source = randomBytes(64 * 64 * 4);
  const layout = { shape: [3, 50, 33], strides: [64, 1, 64] };
  const rows = { shape: [20, 60], strides: [64, 1] };
  for (const each of [layout, rows]) {
    const target = new Uint8Array(positions(each).length * 4);
    copyElements(target, source, 0, 4, each.shape, each.strides);
    expect([...target]).toEqual(gather(source, 0, 4, each));
  }
});

test("a planned copy shows the same elements in no more room than they or their span need", () => {
  fc.assert(
    fc.property(layouts, itemBytes, (layout, size) => {
      const { shape, strides } = layout;
      const { low, high } = span(shape, strides);
      const source = randomBytes((high - low) * size);
      const plan = planCopy(size, shape, strides);
      const copy = new Uint8Array(plan.nbytes);
      const start = -low * size;
      if (plan.shape === undefined) copy.set(source.subarray(start - plan.offset, start - plan.offset + plan.nbytes));
      else copyElements(copy, source, start, size, plan.shape, strides);
      expect(gather(copy, plan.offset, size, { shape, strides: [...plan.strides] })).toEqual(
        gather(source, start, size, layout),
      );
      expect(plan.nbytes).toBeLessThanOrEqual(Math.min(positions(layout).length, high - low) * size);
    }),
  );
});

test("collapse and expand leave one element on an axis that repeats it", () => {
  expect(collapse([4, 3, 1], [0, 1, 0])).toEqual([1, 3, 1]);
  expect(expand([4, 3, 1], [1, 3, 1])).toEqual([0, 1, 1]);
});

describe("numbers beyond all memory", () => {
  const max = Number.MAX_SAFE_INTEGER;
  test.each<[string, number[], number[], number]>([
    ["counts whose product is beyond 2^53", [2 ** 30, 2 ** 30], [1, 1], 0],
    ["counts whose product is beyond every float", Array(32).fill(2 ** 40), Array(32).fill(0), 0],
    ["a stride that reaches beyond 2^53", [2 ** 20, 1], [max, 0], 0],
    ["strides of both signs that would meet again", [3, 3], [max, -max], 0],
    ["an offset beyond the end", [1], [1], 104],
    ["an offset below 0", [1], [1], -4],
    ["an offset with a fraction", [1], [1], 0.5],
    ["an offset that is no multiple of the element", [1], [1], 2],
    ["a stride with a fraction", [2], [0.5], 0],
    ["a stride that is no number", [2], ["1" as unknown as number], 0],
    ["fewer strides than axes", [2, 2], [1], 0],
    ["one element too many", [26], [1], 0],
    ["one element before the start", [2], [-1], 0],
  ])("%s: TENSOR_INVALID", (_name, shape, strides, offset) => {
    expect(() => checkLayout("float32", shape, strides, offset, 100)).toThrowError(
      expect.objectContaining({ code: "TENSOR_INVALID" }),
    );
  });

  test("no elements need no room, whatever the other counts and strides", () => {
    expect(checkShape("float64", [max, 0, max])).toBe(0);
    expect(checkLayout("float64", [max, 0], [max, max], 8, 8)).toEqual({ start: 8, end: 8 });
  });
});

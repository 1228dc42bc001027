// What covers what, for grants that this version cannot honour, too: the comparison alone.

import { describe, expect, test } from "vitest";
import { GRANTS } from "../../src/manifest/grants.ts";
import type { GpuRequest, NetworkRequest } from "../../src/manifest/manifest.ts";

describe("network", () => {
  test.each<[NetworkRequest, NetworkRequest]>([
    ["full", "full"],
    [["a.com"], "full"],
    [["a.com"], ["a.com"]],
    [["a.com"], ["a.COM"]],
    [["a.com:443", "a.com:80"], ["a.com"]],
    [["a.com:8443"], ["a.com:8443"]],
    [["x.a.com", "y.x.a.com", "*.x.a.com", "*.a.com"], ["*.a.com"]],
    ["none", "none"],
  ])("%j fits into %j", (asked, allowed) => {
    expect(GRANTS.network.missing(asked, allowed)).toBeUndefined();
  });

  test.each<[NetworkRequest, NetworkRequest]>([
    ["full", ["*.com"]],
    [["a.com"], ["*.a.com"]],
    [["xa.com"], ["*.a.com"]],
    [["*.a.com"], ["a.com"]],
    [["a.com:8443"], ["a.com"]],
    [["a.com"], ["a.com:443"]],
    [["a.com"], "none"],
  ])("%j does not fit into %j", (asked, allowed) => {
    expect(GRANTS.network.missing(asked, allowed)).toEqual(asked);
  });

  test("only what is not covered is missing", () => {
    expect(GRANTS.network.missing(["a.com", "b.com"], ["a.com"])).toEqual(["b.com"]);
  });

  test("a pack's entry is added to its level's list", () => {
    expect(GRANTS.network.merge(["a.com", "b.com"], ["b.com", "c.com"])).toEqual(["a.com", "b.com", "c.com"]);
  });
});

test.each<[GpuRequest, GpuRequest, boolean]>([
  [true, true, true],
  [true, false, false],
  [{ count: 2 }, { count: 2 }, true],
  [{ count: 3 }, { count: 2 }, false],
  [true, { count: 2 }, false],
  [{ ids: ["1"] }, { ids: ["0", "1"] }, true],
  [{ ids: ["2"] }, { ids: ["0", "1"] }, false],
])("gpu %j under %j: %s", (asked, allowed, isCovered) => {
  expect(GRANTS.gpu.missing(asked, allowed) === undefined).toBe(isCovered);
});

test("of a list, entries that are not granted are missing", () => {
  expect(GRANTS.services.missing(["A", "B"], ["A"])).toEqual(["B"]);
});

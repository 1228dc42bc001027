import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    globalSetup: ["tests/compiled.ts"],
    retry: 0,
    testTimeout: 120_000,
    hookTimeout: 300_000,
    // Two cores and one Docker Engine: more files at once only wait for each other.
    maxWorkers: 2,
    passWithNoTests: false,
  },
});

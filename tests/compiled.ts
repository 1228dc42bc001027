// Before all tests: dist/ from the present sources, since the cases run the command line as it is shipped.

import { ensureCompiled } from "../scripts/lib/dependencies.mjs";

export default async function setup(): Promise<void> {
  await ensureCompiled();
}

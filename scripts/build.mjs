// `npm run build`: dependencies and dist/.

import { ensureCompiled, ensureDependencies, requireNode } from "./lib/dependencies.mjs";
import { main } from "./lib/say.mjs";

await main(async () => {
  requireNode();
  await ensureDependencies();
  await ensureCompiled();
});

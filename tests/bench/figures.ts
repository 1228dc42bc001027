// Figures by id, in the order in which they run. Each is one file in figures/, named after its id.

import { c1 } from "./figures/c1.ts";
import { c5 } from "./figures/c5.ts";
import { d1 } from "./figures/d1.ts";
import { d2 } from "./figures/d2.ts";
import { d3 } from "./figures/d3.ts";
import { d4 } from "./figures/d4.ts";
import { d5 } from "./figures/d5.ts";
import { d6 } from "./figures/d6.ts";
import { d7 } from "./figures/d7.ts";
import { d8 } from "./figures/d8.ts";
import type { Figure } from "./workbench.ts";

export const figures: Readonly<Record<string, Figure>> = {
  D1: d1,
  D2: d2,
  D3: d3,
  D4: d4,
  D5: d5,
  D6: d6,
  D7: d7,
  D8: d8,
  C1: c1,
  C5: c5,
};

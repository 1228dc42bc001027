// Figures by id, in the order in which they run. Each is one file in figures/, named after its id.

import { c1 } from "./figures/c1.ts";
import { c5 } from "./figures/c5.ts";
import { d2 } from "./figures/d2.ts";
import type { Figure } from "./workbench.ts";

export const figures: Readonly<Record<string, Figure>> = { D2: d2, C1: c1, C5: c5 };

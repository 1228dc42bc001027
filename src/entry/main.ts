#!/usr/bin/env node
// The command line: argv, signals, printing, exit status. What the verbs do stands in src/commands.

import { runProgram } from "./program.ts";

process.exitCode = await runProgram(process.argv, process.env);

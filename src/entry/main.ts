#!/usr/bin/env node
// The command line: argv, signals, printing, exit status. What the verbs do stands in src/commands.

import { runProgram } from "./program.ts";

// A reader that is gone (`| head`, a closed terminal) ends what is printed, not what is under way.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE" && error.code !== "EIO") process.exitCode = 1;
  });
}

process.exitCode = await runProgram(process.argv, process.env);

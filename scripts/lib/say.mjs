// What the scripts print. Plain Node: this runs before any dependency is installed.

/** Prints one line of progress to stderr; stdout belongs to results. */
export function say(line) {
  process.stderr.write(`${line}\n`);
}

/** A failure with a remedy: printed as text, without a stack. */
export class SetupError extends Error {
  constructor(message, remedy) {
    super(message);
    this.remedy = remedy;
  }
}

/** Runs a script's main function; a failure is printed once and becomes exit status 1. */
export async function main(run) {
  try {
    process.exitCode = (await run()) ?? 0;
  } catch (error) {
    const known = error instanceof SetupError || error?.name === "PyisolateError";
    say(known ? `\n${error.message}` : `\n${error?.stack ?? error}`);
    const remedy = error.remedy ?? error.details?.next;
    if (remedy) say(`\n${remedy}`);
    process.exitCode = 1;
  }
}

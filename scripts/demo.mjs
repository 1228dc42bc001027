// `npm run demo`: two packs whose numpy versions exclude each other, side by side, on one photograph.
// `npm run demo -- --no-share`: without the policy that lets the second read the first one's picture where it lies.

import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { main, say } from "./lib/say.mjs";
import { setUpMachine, withManager } from "./lib/setup.mjs";

const root = join(import.meta.dirname, "..");
const out = join(root, "out");
const photograph = join(root, "examples/astronaut.jpg");
const steps = [
  { pack: "cartoon", node: "Cartoon", inputs: {} },
  { pack: "film_look", node: "FilmLook", inputs: { strength: 0.8 } },
];
const timedCalls = 5;
const isSharing = !process.argv.includes("--no-share");

await main(async () => {
  const pyisolate = await setUpMachine({ pythons: ["3.11"] });
  mkdirSync(out, { recursive: true });
  const options = isSharing ? { policy: join(root, "examples/policy.yaml") } : {};
  const packs = await withManager(pyisolate, (manager) => runPacks(pyisolate, manager), options);
  writeFileSync(join(out, "demo.json"), `${JSON.stringify({ packs }, null, 2)}\n`);
  printTable(packs);
  console.log(`\nBoth packs ran at the same time, each in its own container. Figures: out/demo.json`);
  if (isSharing)
    console.log("The second read the first one's picture where it lies; npm run demo -- --no-share keeps them apart.");
  console.log(`Your own pack:  npx pyisolate run DIR NODE --input image=photo.jpg --output out.png`);
});

/** Starts both packs, then sends the photograph through one node of each. */
async function runPacks({ readPicture, writePictures, printProgress }, manager) {
  const extensions = [];
  for (const step of steps) {
    say(`\nexamples/${step.pack}:`);
    const directory = join(root, "examples", step.pack);
    extensions.push(await manager.loadExtension(directory, { onProgress: printProgress }));
  }
  say("");
  const packs = [];
  const images = [];
  let image = await readPicture(photograph);
  for (const [index, step] of steps.entries()) {
    const extension = extensions[index];
    const { result, msPerCall } = await timeCalls(extension, step, image);
    image = result.outputs[0];
    images.push(image);
    packs.push({
      name: extension.name,
      python: extension.python,
      numpy: extension.packages.numpy,
      limits: extension.limits,
      route: result.route,
      bytesCopied: result.bytesCopied,
      msPerCall,
    });
  }
  // Only now: a program that looks at a picture gets a copy of its own, and here nobody should need one.
  for (const [index, pack] of packs.entries()) {
    const [picture] = await writePictures(images[index], "IMAGE", join(out, `${index + 1}-${steps[index].pack}.png`));
    pack.picture = relative(root, picture);
  }
  return packs;
}

/** One call that counts, then a few for the clock: the median of them in milliseconds. */
async function timeCalls(extension, step, image) {
  const inputs = { ...step.inputs, image };
  const result = await extension.executeNode(step.node, inputs);
  const durations = [];
  for (let call = 0; call < timedCalls; call++) {
    const startedMs = performance.now();
    await extension.executeNode(step.node, inputs);
    durations.push(performance.now() - startedMs);
  }
  durations.sort((a, b) => a - b);
  return { result, msPerCall: Number(durations[Math.floor(timedCalls / 2)].toFixed(1)) };
}

function printTable(packs) {
  const rows = [
    ["pack", ...packs.map((pack) => pack.name)],
    ["Python", ...packs.map((pack) => pack.python)],
    ["numpy", ...packs.map((pack) => pack.numpy)],
    ["memory limit", ...packs.map((pack) => `${pack.limits.max_memory / 1024 ** 2} MiB`)],
    ["CPU limit", ...packs.map((pack) => `${pack.limits.max_cpu_percent} % of a core`)],
    ["process limit", ...packs.map((pack) => String(pack.limits.max_pids))],
    ["tensor route", ...packs.map((pack) => pack.route)],
    ["bytes copied in", ...packs.map((pack) => String(pack.bytesCopied))],
    ["ms per call", ...packs.map((pack) => String(pack.msPerCall))],
    ["picture", ...packs.map((pack) => pack.picture)],
  ];
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join("   ")
        .trimEnd(),
    );
}

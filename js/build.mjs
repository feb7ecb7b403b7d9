// Builds one readable ESM bundle per widget, and the one style sheet, into the Python package; both are committed.
import { build } from "esbuild";
import { mkdirSync, writeFileSync } from "node:fs";

// how many bytes each may have: `_esm` travels with every widget
const WIDGETS = {
  layer_slider: 44 * 1024,
  token_attention_grid: 60 * 1024,
  diff_viewer: 60 * 1024,
  epoch_scrubber: 60 * 1024,
};

const out = new URL("../difflens_widgets/widgets/static/", import.meta.url).pathname;
mkdirSync(out, { recursive: true });

async function bundle(input, output, limit) {
  const { outputFiles } = await build({
    entryPoints: [input],
    bundle: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    logLevel: "warning",
    write: false,
  });
  // tabs for spaces, comments left to the sources: as readable, a tenth smaller (no text there goes over several lines)
  const text = outputFiles[0].text
    .replace(/^ *(\/\*\*.*\*\/|\/\/ (?!src\/).*)\n/gm, "")
    .replace(/^(?: {2})+/gm, (indent) => "\t".repeat(indent.length / 2));
  const size = Buffer.byteLength(text);
  if (size > limit) throw new Error(`${output} has ${size} bytes; ${limit} are allowed`);
  writeFileSync(out + output, text);
  console.log(`${output} ${size} bytes`);
}

await bundle("src/difflens.css", "difflens.css", 20 * 1024);
for (const [name, limit] of Object.entries(WIDGETS)) await bundle(`src/${name}.ts`, `${name}.js`, limit);

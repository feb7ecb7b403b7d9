// Builds one minified ESM bundle per widget, and the one style sheet, into the Python package; both are committed.
import { build } from "esbuild";
import { mkdirSync, writeFileSync } from "node:fs";

// bytes of a bundle: it is sent to the browser, and saved in the notebook, with every widget
const LIMIT = 44 * 1024;
const LARGE = { microscope: 96 * 1024 }; // it contains two of the others
const WIDGETS = ["layer_slider", "token_attention_grid", "diff_viewer", "epoch_scrubber", "microscope"];

const out = new URL("../difflens_widgets/widgets/static/", import.meta.url).pathname;
mkdirSync(out, { recursive: true });

async function bundle(input, output, limit) {
  const { outputFiles } = await build({
    entryPoints: [input],
    bundle: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    minify: true, // it also shortens #private names, but not those that are private for TypeScript only
    logLevel: "warning",
    write: false,
  });
  const text = outputFiles[0].text;
  const size = Buffer.byteLength(text);
  if (size > limit) throw new Error(`${output} has ${size} bytes; ${limit} are allowed`);
  writeFileSync(out + output, text);
  console.log(`${output} ${size} bytes`);
}

await bundle("src/difflens.css", "difflens.css", 20 * 1024);
for (const name of WIDGETS) await bundle(`src/${name}.ts`, `${name}.js`, LARGE[name] ?? LIMIT);

// Builds the page into dist/: index.html, page.js and page.css, each also compressed. The names in the index carry a hash of
// the content, under which the server serves the files. With --check it compares instead: plain files byte for byte,
// compressed ones by what they hold, as libraries of another release compress otherwise.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { brotliCompressSync, brotliDecompressSync, constants, gunzipSync, gzipSync } from "node:zlib";
import { build } from "esbuild";

const folder = "dist";
const checks = process.argv.includes("--check");
const result = await build({
  entryPoints: { page: "src/main.tsx" },
  bundle: true,
  write: false,
  outdir: folder,
  format: "esm",
  target: ["chrome123", "firefox128", "safari17.5"],
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
});
mkdirSync(folder, { recursive: true });

const notice = `/* Evergreen. Contains Preact (MIT): see /assets/LICENSES.txt */\n`;
const files = new Map(result.outputFiles.map(({ path, text }) => [path.split("/").pop(), text]));
files.set("page.js", notice + files.get("page.js"));
let index = readFileSync("src/index.html", "utf8");
for (const name of ["page.js", "page.css"]) {
  const hash = createHash("sha256").update(files.get(name)).digest("hex").slice(0, 16);
  index = index.replace(`/assets/${name}`, `/assets/${name.replace(".", `-${hash}.`)}`);
}
files.set("index.html", index);

const preact = (name) => readFileSync(`node_modules/preact/${name}`, "utf8");
const version = JSON.parse(preact("package.json")).version;
const licenses = `The page contains Preact ${version}, under this licence:\n\n${preact("LICENSE")}`;

if (checks) check();
else write();

function write() {
  let total = 0;
  for (const [name, text] of files) {
    const bytes = Buffer.from(text);
    const brotli = brotliCompressSync(bytes, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
    });
    const gzip = gzipSync(bytes, { level: 9 });
    writeFileSync(`${folder}/${name}`, bytes);
    writeFileSync(`${folder}/${name}.br`, brotli);
    writeFileSync(`${folder}/${name}.gz`, gzip);
    total += brotli.length;
    console.log(`${name}: ${bytes.length} bytes, gzip ${gzip.length}, brotli ${brotli.length}`);
  }
  writeFileSync(`${folder}/LICENSES.txt`, licenses);
  console.log(`all: brotli ${total} bytes`);
}

function check() {
  const wanted = new Map([...files].flatMap(([name, text]) => [
    [name, [text, (bytes) => bytes]],
    [`${name}.br`, [text, brotliDecompressSync]],
    [`${name}.gz`, [text, gunzipSync]],
  ]));
  wanted.set("LICENSES.txt", [licenses, (bytes) => bytes]);
  const other = [...wanted].filter(([name, [text, open]]) => {
    try {
      return open(readFileSync(`${folder}/${name}`)).toString("utf8") !== text;
    } catch {
      return true;
    }
  });
  if (other.length === 0) return;
  console.error(`error: not what the sources give: ${other.map(([name]) => `web/${folder}/${name}`).join(", ")}; run web/build`);
  process.exit(1);
}

// Bundles the third-party browser code, pinned by package-lock.json, into webui/ui/static/vendor.
// Run `npm ci && npm run build` here; the same lock gives the same bytes.
import { build } from "esbuild";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, "node_modules");
const target = join(here, "..", "..", "webui", "ui", "static", "vendor");

// Every package whose code or fonts end up in the output, and the files that hold it.
const packages = [
  { name: "marked", files: ["markdown.bundle.js"] },
  { name: "dompurify", files: ["markdown.bundle.js"] },
  { name: "highlight.js", files: ["highlight.bundle.js"] },
  { name: "katex", files: ["katex.bundle.js", "katex.css", "fonts/KaTeX_*.woff2"] },
  { name: "@fontsource-variable/inter", files: ["fonts.css", "fonts/inter-*.woff2"] },
  { name: "@fontsource-variable/jetbrains-mono", files: ["fonts.css", "fonts/jetbrains-mono-*.woff2"] },
];

// Subsets that a browser fetches only when a page shows their letters.
const fonts = [
  ["@fontsource-variable/inter", "index.css", /^inter-(latin|latin-ext|cyrillic|greek|vietnamese)-wght-normal$/],
  ["@fontsource-variable/inter", "wght-italic.css", /^inter-latin-wght-italic$/],
  ["@fontsource-variable/jetbrains-mono", "index.css", /^jetbrains-mono-(latin|latin-ext|cyrillic|greek)-wght-normal$/],
];

async function bundleScripts() {
  await build({
    absWorkingDir: here,
    entryPoints: ["markdown", "highlight", "katex"].map((name) => ({
      in: `${name}.entry.mjs`,
      out: `${name}.bundle`,
    })),
    outdir: target,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    legalComments: "none", // the licences lie beside the bundles, see LICENSES.md
    charset: "utf8",
  });
}

async function writeKatexStyle() {
  const css = await readFile(join(modules, "katex/dist/katex.min.css"), "utf8");
  const woff2 = /(url\(fonts\/[\w-]+\.woff2\) format\("woff2"\))(?:,url\([^)]*\) format\("[^"]*"\))*/g;
  await writeFile(join(target, "katex.css"), css.replace(woff2, "$1"));
  for (const file of await readdir(join(modules, "katex/dist/fonts"))) {
    if (file.endsWith(".woff2")) {
      await cp(join(modules, "katex/dist/fonts", file), join(target, "fonts", file));
    }
  }
}

async function writeFonts() {
  const faces = [];
  for (const [name, sheet, wanted] of fonts) {
    const css = await readFile(join(modules, name, sheet), "utf8");
    for (const [, id, face] of css.matchAll(/\/\* (\S+) \*\/\s*(@font-face \{[^}]*\})/g)) {
      if (!wanted.test(id)) continue;
      await cp(join(modules, name, "files", `${id}.woff2`), join(target, "fonts", `${id}.woff2`));
      faces.push(face.replace("./files/", "fonts/"));
    }
  }
  await writeFile(join(target, "fonts.css"), `${faces.join("\n")}\n`);
}

async function writeLicences() {
  await mkdir(join(target, "licences"), { recursive: true });
  const rows = [];
  for (const { name, files } of packages) {
    const about = JSON.parse(await readFile(join(modules, name, "package.json"), "utf8"));
    const text = `${name.replace("@", "").replace("/", "-")}.txt`;
    await cp(join(modules, name, "LICENSE"), join(target, "licences", text));
    const held = files.map((file) => `\`${file}\``).join(", ");
    rows.push(`| ${name} | ${about.version} | ${about.license} | \`${name}@${about.version}\` (npm) | ${held} | [text](licences/${text}) |`);
  }
  await writeFile(
    join(target, "LICENSES.md"),
    [
      "# Third-party code in this folder",
      "",
      "Made by `tests/vendor/build.mjs` from the packages below, pinned by its lock file. Nothing here is edited by hand.",
      "",
      "| Name | Version | Licence | Source package | Files | Licence text |",
      "|---|---|---|---|---|---|",
      ...rows,
      "",
    ].join("\n"),
  );
}

await rm(target, { recursive: true, force: true });
await mkdir(join(target, "fonts"), { recursive: true });
await bundleScripts();
await writeKatexStyle();
await writeFonts();
await writeLicences();

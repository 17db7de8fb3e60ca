// Writes dist/: one script, one style sheet, the page, and the licences of what is bundled. The daemon is built with dist/
// as it is committed, so building the daemon needs no node.
import { build } from 'esbuild';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';

const result = await build({
  entryPoints: { app: 'src/app.tsx' },
  outdir: 'dist',
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['es2022'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
});

for (const file of ['index.html', 'icon.svg']) cpSync(`src/${file}`, `dist/${file}`);

const packages = new Set();
for (const input of Object.keys(result.metafile.inputs)) {
  const found = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
  if (found) packages.add(found[1]);
}
const texts = [...packages].sort().map((name) => {
  const { version, license } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8'));
  const text = readFileSync(`node_modules/${name}/LICENSE`, 'utf8').trim();
  return `${name} ${version} (${license})\n\n${text}\n`;
});
const head = 'The console is part of adapterd (MIT OR Apache-2.0). Its script and style sheet contain:\n\n';
writeFileSync('dist/LICENSES.txt', head + texts.join('\n' + '-'.repeat(80) + '\n\n'));
for (const [name, { bytes }] of Object.entries(result.metafile.outputs)) console.log(name, bytes);

/**
 * Compiles `shaders/**` to SPIR-V, family by family, and writes what is committed: `shaders/compiled/<family>.bin`, the
 * variants' blobs behind each other, packed as a whole since they have much in common, and `shaders/compiled/<family>.json`,
 * where each lies in what is unpacked and the hash of its inputs. Which variants there are, and how a family declares them,
 * is told in shader-inputs.mjs. Variants whose hash is that of the committed blob are not compiled again; a family with a
 * shader that does not compile is left as it was.
 *
 *     node tools/compile-shaders.mjs [--fetch-compiler] [--only family,...] [--all] [--jobs N] [--keep folder]
 *
 * --fetch-compiler  first fetch the pinned compiler, unless it is there (see shader-compiler.mjs)
 * --only            these families alone, not all
 * --all             compile also what has not changed
 * --jobs            how many compilers run at once, default 2
 * --keep            write each blob also to <folder>/<name>.spv, to disassemble it
 *
 * It is not needed to install, build or test: the committed blobs are used, and a test compares the hashes.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { compilerProblem, fetchCompiler, runTool } from './shader-compiler.mjs';
import {
  compiledFolder,
  compilerArguments,
  compilerId,
  familyNames,
  inputHasher,
  readFamilies,
  shaderFolder,
} from './shader-inputs.mjs';

/** One less than the best: packs of five megabytes take eight seconds instead of thirteen, and a sixth more room. */
const packing = { [constants.BROTLI_PARAM_QUALITY]: 10, [constants.BROTLI_PARAM_LGWIN]: 24 };

const { values: flags } = parseArgs({
  options: {
    'fetch-compiler': { type: 'boolean', default: false },
    only: { type: 'string' },
    all: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '2' },
    keep: { type: 'string' },
  },
});

const wanted = flags.only?.split(',') ?? familyNames();
const unknown = wanted.find((family) => !familyNames().includes(family));
if (unknown !== undefined) fail(`There is no family ${unknown}. There are: ${familyNames().join(', ')}.`);
const families = await readFamilies(wanted);
mkdirSync(compiledFolder, { recursive: true });
if (flags.keep !== undefined) mkdirSync(flags.keep, { recursive: true });

const hashOf = inputHasher();
const temporary = mkdtempSync(join(tmpdir(), 'unicorn-shaders-'));
try {
  const plans = wanted.map((family) => planOf(family));
  const stale = plans.flatMap(({ shaders }) => shaders.filter(({ blob }) => blob === undefined));
  if (stale.length > 0) readyCompiler();
  await inParallel(Number(flags.jobs), stale, compile);
  for (const plan of plans) write(plan);
  if (flags.only === undefined) removeOrphans();
} finally {
  rmSync(temporary, { recursive: true, force: true });
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

function readyCompiler() {
  if (compilerProblem() !== undefined && flags['fetch-compiler']) fetchCompiler();
  const problem = compilerProblem();
  if (problem !== undefined)
    fail(`Cannot compile shaders: ${problem}. Fix: add --fetch-compiler (on Debian).`);
}

/** What a family consists of; `blob` is set where the committed one still holds. */
function planOf(family) {
  const indexPath = join(compiledFolder, `${family}.json`);
  const packPath = join(compiledFolder, `${family}.bin`);
  const complete = !flags.all && existsSync(indexPath) && existsSync(packPath);
  const index = complete ? JSON.parse(readFileSync(indexPath, 'utf8')).variants : {};
  const blobs = complete ? brotliDecompressSync(readFileSync(packPath)) : undefined;
  const shaders = families.get(family).map((variant) => {
    const inputs = hashOf(variant);
    const old = index[variant.name];
    if (old?.inputs !== inputs) return { variant, inputs };
    return { variant, inputs, blob: blobs.subarray(old.offset, old.offset + old.byteLength) };
  });
  return { family, indexPath, packPath, shaders };
}

async function compile(shader) {
  const { variant } = shader;
  const output = join(temporary, `${variant.name}.spv`);
  const input = join(shaderFolder, variant.source);
  const built = await runTool('glslc', [
    ...compilerArguments(variant),
    '-I',
    shaderFolder,
    input,
    '-o',
    output,
  ]);
  if (built.code !== 0) return failed(shader, built.output);
  // Names and lines are a third of a blob, and no driver needs them.
  const again = Array(Math.max(0, variant.optimize - 1)).fill('-O');
  const stripped = await runTool('spirv-opt', ['--strip-debug', ...again, output, '-o', output]);
  if (stripped.code !== 0) return failed(shader, stripped.output);
  const valid = await runTool('spirv-val', ['--target-env', 'vulkan1.3', output]);
  if (valid.code !== 0) return failed(shader, valid.output);
  shader.blob = readFileSync(output);
}

function failed(shader, output) {
  console.error(`${shader.variant.name} (${shader.variant.source}):\n${output.trimEnd()}`);
  process.exitCode = 1;
}

async function inParallel(jobs, items, work) {
  let next = 0;
  const worker = async () => {
    while (next < items.length) await work(items[next++]);
  };
  await Promise.all(Array.from({ length: jobs }, worker));
}

function write({ family, indexPath, packPath, shaders }) {
  const missing = shaders.filter(({ blob }) => blob === undefined);
  if (missing.length > 0) {
    console.error(
      `${family}: ${missing.length} of ${shaders.length} variants did not compile; left as it was.`,
    );
    return;
  }
  let offset = 0;
  const lines = shaders.map(({ variant, inputs, blob }) => {
    const line = { offset, byteLength: blob.byteLength, inputs };
    offset += blob.byteLength;
    if (flags.keep !== undefined) writeFileSync(join(flags.keep, `${variant.name}.spv`), blob);
    return `    ${JSON.stringify(variant.name)}: ${JSON.stringify(line)}`;
  });
  const index = `{\n  "compiler": ${JSON.stringify(compilerId)},\n  "variants": {\n${lines.join(',\n')}\n  }\n}\n`;
  const content = Buffer.concat(shaders.map(({ blob }) => blob));
  const isPacked = existsSync(packPath) && brotliDecompressSync(readFileSync(packPath)).equals(content);
  if (!isPacked) replace(packPath, brotliCompressSync(content, { params: packing }));
  replace(indexPath, index);
  console.log(
    `${family}: ${shaders.length} variants, ${offset} bytes, ${readFileSync(packPath).byteLength} packed`,
  );
}

/** Readers see the old file or the new one; an unchanged file keeps its time. */
function replace(path, content) {
  const bytes = Buffer.from(content);
  if (existsSync(path) && readFileSync(path).equals(bytes)) return;
  writeFileSync(`${path}.${process.pid}`, bytes);
  renameSync(`${path}.${process.pid}`, path);
}

/** Files of families that do not exist any more. */
function removeOrphans() {
  for (const file of readdirSync(compiledFolder)) {
    if (!families.has(file.replace(/\.(?:json|bin)$/, ''))) rmSync(join(compiledFolder, file));
  }
}

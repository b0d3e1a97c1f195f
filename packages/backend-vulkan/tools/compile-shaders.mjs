/**
 * Compiles `shaders/**` to SPIR-V, family by family, and writes what is committed: `shaders/compiled/<family>.bin`, the
 * variants' blobs, each deflated by itself, and `shaders/compiled/<family>.json`, where each lies and the hash of its
 * inputs. Which variants there are, and how a family declares them, is told in shader-inputs.mjs. Variants whose hash is
 * that of the committed blob are not compiled again; a family with a shader that does not compile is left as it was.
 *
 *     node tools/compile-shaders.mjs [--fetch-compiler] [--only family,...] [--all] [--jobs N] [--keep folder]
 *
 * --fetch-compiler  first fetch the pinned compiler, unless it is there (see shader-compiler.mjs)
 * --only            these families alone, not all
 * --all             compile also what has not changed
 * --jobs            how many compilers run at once, default 2
 * --keep            write each blob also to <folder>/<name>.spv, to disassemble it
 *
 * Nobody needs this to install, build or test: the committed blobs are used, and a test compares the hashes.
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
import { deflateRawSync, inflateRawSync } from 'node:zlib';
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
  const stale = plans.flatMap(({ shaders }) => shaders.filter(({ packed }) => packed === undefined));
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

/** What a family consists of; `packed` is set where the committed blob still holds. */
function planOf(family) {
  const indexPath = join(compiledFolder, `${family}.json`);
  const packPath = join(compiledFolder, `${family}.bin`);
  const complete = !flags.all && existsSync(indexPath) && existsSync(packPath);
  const index = complete ? JSON.parse(readFileSync(indexPath, 'utf8')).variants : {};
  const pack = complete ? readFileSync(packPath) : undefined;
  const shaders = families.get(family).map((variant) => {
    const inputs = hashOf(variant);
    const old = index[variant.name];
    if (old?.inputs !== inputs) return { variant, inputs };
    return {
      variant,
      inputs,
      byteLength: old.byteLength,
      packed: pack.subarray(old.offset, old.offset + old.packedBytes),
    };
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
  const blob = readFileSync(output);
  shader.byteLength = blob.byteLength;
  shader.packed = deflateRawSync(blob, { level: 9 });
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
  const missing = shaders.filter(({ packed }) => packed === undefined);
  if (missing.length > 0) {
    console.error(
      `${family}: ${missing.length} of ${shaders.length} variants did not compile; left as it was.`,
    );
    return;
  }
  let offset = 0;
  const lines = shaders.map(({ variant, inputs, byteLength, packed }) => {
    const line = { offset, packedBytes: packed.byteLength, byteLength, inputs };
    offset += packed.byteLength;
    if (flags.keep !== undefined)
      writeFileSync(join(flags.keep, `${variant.name}.spv`), inflateRawSync(packed));
    return `    ${JSON.stringify(variant.name)}: ${JSON.stringify(line)}`;
  });
  const index = `{\n  "compiler": ${JSON.stringify(compilerId)},\n  "variants": {\n${lines.join(',\n')}\n  }\n}\n`;
  replace(packPath, Buffer.concat(shaders.map(({ packed }) => packed)));
  replace(indexPath, index);
  const bytes = shaders.reduce((sum, { byteLength }) => sum + byteLength, 0);
  console.log(`${family}: ${shaders.length} variants, ${bytes} bytes, ${offset} packed`);
}

/** Readers see the old file or the new one; an unchanged file keeps its time. */
function replace(path, content) {
  const bytes = Buffer.from(content);
  if (existsSync(path) && readFileSync(path).equals(bytes)) return;
  writeFileSync(`${path}.${process.pid}`, bytes);
  renameSync(`${path}.${process.pid}`, path);
}

/** Files of families that are no more. */
function removeOrphans() {
  for (const file of readdirSync(compiledFolder)) {
    if (!families.has(file.replace(/\.(?:json|bin)$/, ''))) rmSync(join(compiledFolder, file));
  }
}

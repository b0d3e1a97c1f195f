/**
 * What goes into each compiled shader, and the hash of it: no compiler is needed, so a test can compare it with what was
 * committed.
 *
 * A family is a file `shaders/<family>.variants.mjs`. It exports by default a list (loops may build it) of
 *
 *     { name: 'copy-f32',             unique among all families: lower case letters, digits, dots, dashes, underscores
 *       source: 'copy.comp',          below shaders/
 *       defines: { TYPE: 'float' },   optional: -DTYPE=float; values are strings, numbers or booleans (true is 1, false 0)
 *       optimize: 2 }                 optional: how often the optimizer (-O) runs, 1 by default; each time it unrolls loops
 *                                     of literal bounds that contain no others
 *
 * A source includes others by `#include "path"`, relative to itself or to shaders/. Every include that the text names
 * counts, whether or not a condition leaves it out: a hash may change when the code does not, never the other way round.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
export const shaderFolder = join(packageFolder, 'shaders');
/** Holds `<family>.json` and `<family>.bin`, see compile-shaders.mjs. */
export const compiledFolder = join(shaderFolder, 'compiled');

/** The one compiler whose output is committed. Debian 13's: the first with cooperative matrices of both kinds. */
export const compilerId = 'shaderc 2025.2-1, glslang 15.1.0+1.4.309.0-1, spirv-tools 2025.1~rc1-1';

/** SPIR-V 1.6, which Vulkan 1.3 brings: every driver that we know of has it, lavapipe of Mesa 22.3 included. */
export const compilerFlags = ['--target-env=vulkan1.3', '-fshader-stage=compute', '-Werror'];

const suffix = '.variants.mjs';

/**
 * @typedef {{name: string, source: string, defines: Record<string, string>, optimize: number}} Variant
 */

/** Names of all families, sorted. */
export function familyNames() {
  const files = readdirSync(shaderFolder).filter((file) => file.endsWith(suffix));
  return files.map((file) => file.slice(0, -suffix.length)).sort();
}

/**
 * @param {string[]} [names] all by default
 * @returns {Promise<Map<string, Variant[]>>} each family's variants
 * @throws Error that names the file and what is wrong in it
 */
export async function readFamilies(names = familyNames()) {
  const families = new Map();
  const owners = new Map();
  for (const family of names) {
    const file = `${family}${suffix}`;
    const list = (await import(pathToFileURL(join(shaderFolder, file)).href)).default;
    if (!Array.isArray(list) || list.length === 0) throw new Error(`${file} exports no list of variants.`);
    families.set(
      family,
      list.map((entry) => checkedVariant(file, entry, owners)),
    );
  }
  return families;
}

function checkedVariant(file, entry, owners) {
  const { name, source, defines = {}, optimize = 1, ...others } = entry;
  if (typeof name !== 'string' || !/^[a-z0-9][a-z0-9._-]*$/.test(name)) {
    throw new Error(`${file}: ${JSON.stringify(name)} is not a name for a variant.`);
  }
  if (owners.has(name)) throw new Error(`${file}: ${name} is a variant of ${owners.get(name)} already.`);
  owners.set(name, file);
  const unknown = Object.keys(others);
  if (unknown.length > 0) throw new Error(`${file}: ${name} has an unknown field ${unknown[0]}.`);
  if (typeof source !== 'string' || !existsSync(join(shaderFolder, source))) {
    throw new Error(`${file}: ${name} names the source ${JSON.stringify(source)}, which does not exist.`);
  }
  const texts = Object.entries(defines).map(([key, value]) => {
    if (!/^[A-Za-z_]\w*$/.test(key)) throw new Error(`${file}: ${name} defines ${JSON.stringify(key)}.`);
    return [key, typeof value === 'boolean' ? String(Number(value)) : String(value)];
  });
  return { name, source, defines: Object.fromEntries(texts.sort(([a], [b]) => (a < b ? -1 : 1))), optimize };
}

/** Source and all that it includes, directly or not, as sorted paths below shaders/. */
export function sourceFiles(source, texts = new Map()) {
  const found = new Set();
  const visit = (path, from) => {
    if (found.has(path)) return;
    if (!texts.has(path)) texts.set(path, readFileSync(join(shaderFolder, path), 'utf8'));
    found.add(path);
    for (const [, name] of texts.get(path).matchAll(/^[ \t]*#[ \t]*include[ \t]+["<]([^">]+)[">]/gm)) {
      const beside = join(dirname(path), name);
      const included = existsSync(join(shaderFolder, beside)) ? beside : name;
      if (!existsSync(join(shaderFolder, included))) {
        throw new Error(`${path} (of ${from}) includes ${name}, which does not exist.`);
      }
      visit(relative('', included), from);
    }
  };
  visit(source, source);
  return [...found].sort();
}

/** Arguments of the compiler for a variant, without its input and output. */
export function compilerArguments({ defines, optimize }) {
  return [
    ...compilerFlags,
    ...(optimize > 0 ? ['-O'] : []),
    ...Object.entries(defines).map(([key, value]) => `-D${key}=${value}`),
  ];
}

/**
 * Hashes for many variants; files are read once.
 *
 * @returns {(variant: Variant) => string} sha256 of the compiler, its arguments, and the path and text of every source
 */
export function inputHasher() {
  const texts = new Map();
  const files = new Map();
  return (variant) => {
    if (!files.has(variant.source)) files.set(variant.source, sourceFiles(variant.source, texts));
    const hash = createHash('sha256');
    // Each part's length goes before it, so that no two lists of parts read the same.
    const parts = [compilerId, ...compilerArguments(variant), variant.source];
    if (variant.optimize > 1) parts.push(`optimized ${variant.optimize} times`);
    for (const path of files.get(variant.source)) parts.push(path, texts.get(path));
    for (const part of parts) hash.update(`${Buffer.byteLength(part)}:${part}`);
    return hash.digest('hex');
  };
}

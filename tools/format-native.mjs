/**
 * Formats the C++ and GLSL of the repository by its `.clang-format` files, as prettier does the rest.
 *
 *     node tools/format-native.mjs            # rewrites what is formatted otherwise
 *     node tools/format-native.mjs --check    # names it, and exits with 1
 *
 * Every version of clang-format breaks some lines in its own way, so that only one version counts. Where it is not
 * installed nothing is formatted, and one line says so: a clone without it can still be tested.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** Debian 12's; Ubuntu has it as well. */
const version = 14;

const workspace = fileURLToPath(new URL('..', import.meta.url));
const { values: flags } = parseArgs({ options: { check: { type: 'boolean', default: false } } });

/** The program of the right version, whatever it is called here. */
function findFormatter() {
  return [`clang-format-${version}`, 'clang-format'].find((name) => {
    const { stdout } = spawnSync(name, ['--version'], { encoding: 'utf8' });
    return stdout?.includes(`version ${version}.`);
  });
}

/** Files of ours, with and without a commit: what others wrote stays as they wrote it. */
function nativeFiles() {
  const patterns = ['*.cpp', '*.h', '*.comp', '*.glsl'];
  const listing = spawnSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', ...patterns, ':!:**/vendor/**'],
    { cwd: workspace, encoding: 'utf8', maxBuffer: 2 ** 24 },
  );
  if (listing.status !== 0) throw new Error(`git could not list the files: ${listing.stderr}`);
  return listing.stdout.split('\0').filter((path) => path !== '' && existsSync(join(workspace, path)));
}

function formatted(formatter, path, text) {
  // GLSL is unknown to clang-format; the folder of the name given decides which configuration holds.
  const name = join(workspace, path.replace(/\.(comp|glsl)$/, '.$1.cpp'));
  const { status, stdout, stderr } = spawnSync(formatter, [`--assume-filename=${name}`], {
    cwd: workspace,
    input: text,
    encoding: 'utf8',
    maxBuffer: 2 ** 24,
  });
  if (status !== 0) throw new Error(`${formatter} failed on ${path}: ${stderr}`);
  return stdout;
}

const formatter = findFormatter();
if (formatter === undefined) {
  console.log(`C++ and GLSL are left as they are: clang-format ${version} is not installed.`);
} else {
  const different = [];
  for (const path of nativeFiles()) {
    const file = join(workspace, path);
    const text = readFileSync(file, 'utf8');
    const wanted = formatted(formatter, path, text);
    if (wanted === text) continue;
    different.push(path);
    if (!flags.check) writeFileSync(file, wanted);
  }
  for (const path of different) console.log(path);
  if (different.length === 0) console.log('All C++ and GLSL is formatted.');
  else if (flags.check) {
    console.log('Run `npm run format` to format what is listed.');
    process.exitCode = 1;
  }
}

/**
 * The packages as a consumer gets them: packs each, installs the tarballs into empty projects, and uses what lies there.
 *
 * - `checkpoint` alone brings `tensor` and nothing else: no native code, no network.
 * - The examples of each packed README run, as ES module and as CommonJS, and print what the README says.
 * - Their types, and every declaration, hold under `module: node16` in both.
 * - The `unicorn` command answers, and says so when it falls back for want of the native kernels.
 * - With `--native` it compiles the kernels as `unicorn doctor --build` does at a consumer's, and answers on them.
 *
 * In a README a fence with a file name marks what is checked: ```js example.mjs and ```js example.cjs. What a comment
 * behind a `console.log(...);` says must be printed; `...` in it stands for anything. Third-party packages come from the
 * registry or npm's cache. The packages must have been built; nothing is written but a temporary folder, which is
 * removed unless a check fails.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const workspace = fileURLToPath(new URL('..', import.meta.url));
const { values: flags } = parseArgs({ options: { native: { type: 'boolean', default: false } } });

/** An install from the registry may be slow; nothing else here takes a tenth of it. */
const timeoutMs = 10 * 60_000;

const folder = mkdtempSync(join(tmpdir(), 'unicorn-consumer-'));
let step = '';
try {
  checkAll();
  rmSync(folder, { recursive: true, force: true });
  console.log('Every package works as a consumer gets it.');
} catch (error) {
  console.error(`\n${step} failed. What was installed is left in ${folder}\n`);
  throw error;
}

function checkAll() {
  const packages = announce('packing', () => packAll());

  announce('checkpoint alone', () => {
    const project = install('checkpoint-alone', packages, ['@unicorn-exec/checkpoint']);
    const installed = Object.keys(readJson(join(project, 'node_modules/.package-lock.json')).packages);
    assert.deepEqual(installed.map(packageName).sort(), ['@unicorn-exec/checkpoint', '@unicorn-exec/tensor']);
    for (const file of filesUnder(join(project, 'node_modules/@unicorn-exec'))) {
      assert.doesNotMatch(file, /\.(?:node|gyp|cpp|cc|h|so|dll|dylib)$|CMakeLists\.txt$/, 'native code');
      if (/\.c?js$/.test(file))
        assert.doesNotMatch(
          readFileSync(file, 'utf8'),
          /["'](?:node:)?(?:https?|http2|net|tls|dgram|child_process)["']|\bfetch\(/,
          `${file} reaches beyond the file system`,
        );
    }
    runExamples(project, ['@unicorn-exec/checkpoint']);
  });

  const names = Object.keys(packages);
  const { devDependencies } = readJson(join(workspace, 'package.json'));
  const project = announce('installing all', () =>
    install('all', packages, names, pick(devDependencies, ['@types/node', 'vitest'])),
  );
  announce('examples', () => runExamples(project, names));
  announce('types', () => checkTypes(project, names));
  announce('the command', () => checkCommand(project));
  if (flags.native) announce('native kernels', () => checkNative(project, names));
}

function announce(name, work) {
  step = name;
  const begin = performance.now();
  const result = work();
  console.log(`${name}: ${((performance.now() - begin) / 1000).toFixed(1)} s`);
  return result;
}

/** Tarball paths by package name, of every package that is not private. */
function packAll() {
  const tarballs = join(folder, 'tarballs');
  mkdirSync(tarballs);
  const packages = {};
  for (const directory of readdirSync(join(workspace, 'packages'))) {
    const from = join(workspace, 'packages', directory);
    const manifest = readJson(join(from, 'package.json'));
    if (manifest.private) continue;
    const [{ filename, files }] = JSON.parse(
      run('npm', ['pack', '--json', '--pack-destination', tarballs], from),
    );
    const packed = files.map(({ path }) => path);
    for (const path of ['README.md', 'LICENSE', ...entryFiles(manifest)])
      assert.ok(packed.includes(path), `${manifest.name} is packed without ${path}: is it built?`);
    packages[manifest.name] = join(tarballs, basename(filename));
  }
  return packages;
}

/** Every file that a manifest's `exports` and `bin` name. */
function entryFiles({ exports, bin }) {
  const files = [];
  const collect = (value) => {
    if (typeof value === 'string') files.push(value.replace(/^\.\//, ''));
    else Object.values(value ?? {}).forEach(collect);
  };
  collect(exports);
  collect(bin);
  return files;
}

/** An empty project with some of the packages; what these need of ours comes from the tarballs as well. */
function install(name, packages, wanted, devDependencies = {}) {
  const project = join(folder, name);
  mkdirSync(project);
  const inner = Object.keys(packages).filter((each) => !wanted.includes(each));
  writeJson(join(project, 'package.json'), {
    name: `consumer-${name}`,
    private: true,
    dependencies: Object.fromEntries(wanted.map((each) => [each, `file:${packages[each]}`])),
    devDependencies,
    overrides: {
      ...Object.fromEntries(wanted.map((each) => [each, `$${each}`])),
      ...Object.fromEntries(inner.map((each) => [each, `file:${packages[each]}`])),
    },
  });
  run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'], project);
  return project;
}

/** Writes the examples of the installed READMEs into the project and runs them. */
function runExamples(project, names) {
  for (const name of names) {
    const examples = examplesOf(join(project, 'node_modules', name, 'README.md'));
    if (isCommandOnly(project, name)) {
      assert.deepEqual(examples, {}, `${name} is a command; its README cannot have examples that import it`);
      continue;
    }
    const directory = join(project, 'examples', basename(name));
    mkdirSync(directory, { recursive: true });
    for (const file of ['example.mjs', 'example.cjs']) {
      assert.ok(examples[file], `The README of ${name} has no \`\`\`js ${file}`);
      writeFileSync(join(directory, file), examples[file]);
      const printed = run(process.execPath, [file], directory);
      for (const said of promisedOutput(examples[file]))
        assert.ok(printed.includes(said), `${name}/${file} does not print "${said}" but\n${printed}`);
    }
  }
}

/** A package without a module to import: its exports are its manifest alone. */
function isCommandOnly(project, name) {
  const { bin, exports } = readJson(join(project, 'node_modules', name, 'package.json'));
  return bin !== undefined && exports?.['.'] === undefined;
}

/** Fenced blocks that have a file name behind the language, by that name. */
function examplesOf(readme) {
  const blocks = readFileSync(readme, 'utf8').matchAll(/^```\w+ (example\.\w+)\n([^]*?)^```$/gm);
  return Object.fromEntries(Array.from(blocks, ([, file, text]) => [file, text]));
}

/** What the comments of an example say that it prints. */
function promisedOutput(example) {
  const comments = example.matchAll(/console\.log\(.*\);? \/\/ (.*)$/gm);
  return Array.from(comments, ([, comment]) => comment.split('...').map((part) => part.trim())).flat();
}

/** The examples as checked JavaScript, and the declarations of every entry in full. */
function checkTypes(project, names) {
  const types = join(project, 'types');
  mkdirSync(types);
  for (const name of names) {
    if (isCommandOnly(project, name)) continue;
    const { exports } = readJson(join(project, 'node_modules', name, 'package.json'));
    // Scripts (tools/*.mjs) are plain JavaScript without types.
    const entries = Object.keys(exports).filter((entry) => !/\.(?:json|mjs)$/.test(entry));
    const source = entries
      .map((entry, index) => `export * as entry${index} from '${name}${entry.slice(1)}';\n`)
      .join('');
    for (const extension of ['mts', 'cts'])
      writeFileSync(join(types, `${basename(name)}.${extension}`), source);
  }
  writeJson(join(project, 'tsconfig.json'), {
    compilerOptions: {
      module: 'node16',
      target: 'es2022',
      lib: ['es2023'],
      types: ['node'],
      strict: true,
      allowJs: true,
      checkJs: true,
      noEmit: true,
      skipLibCheck: false,
    },
    include: ['types', 'examples'],
  });
  run(process.execPath, [join(workspace, 'node_modules/typescript/bin/tsc'), '-p', '.'], project);
}

function checkCommand(project) {
  const { version } = readJson(join(project, 'node_modules/@unicorn-exec/cli/package.json'));
  assert.equal(unicorn(project, ['--version']).stdout.trim(), version);
  const { ids, pieces } = JSON.parse(unicorn(project, ['tokenize', '--json', 'Hello, world!']).stdout);
  assert.ok(ids.length > 0 && ids.every(Number.isInteger));
  assert.equal(pieces.join(''), 'Hello, world!');
  const text = unicorn(project, ['detokenize', ...ids.map(String)]).stdout;
  assert.equal(text, 'Hello, world!\n');

  const { stdout, stderr } = unicorn(project, [
    'run',
    '--temperature',
    '0',
    '-n',
    '8',
    '--json',
    'Who are you?',
  ]);
  const answer = JSON.parse(stdout);
  assert.ok(answer.text.length > 0 && answer.tokens.length <= 8);
  if (answer.backend === 'reference') {
    assert.ok(answer.fallback?.reason, 'a fallback gives its reason');
    assert.match(stderr, /reference/, 'a fallback announces itself');
    assert.match(stderr, /unicorn doctor --build/, 'and says how to build the kernels');
  }
}

function checkNative(project, names) {
  unicorn(project, ['doctor', '--build']);
  const { backends } = JSON.parse(unicorn(project, ['doctor', '--json']).stdout);
  assert.ok(
    backends.find(({ name }) => name === 'cpu').available,
    'the kernels were built but are not found',
  );
  const { stdout } = unicorn(project, ['run', '--backend', 'cpu', '-n', '8', '--json', 'Who are you?']);
  assert.equal(JSON.parse(stdout).backend, 'cpu');
  runExamples(project, names);
}

function unicorn(project, args) {
  return execute(
    process.execPath,
    [join(project, 'node_modules/@unicorn-exec/cli/bin/unicorn.js'), ...args],
    project,
  );
}

function run(command, args, cwd) {
  return execute(command, args, cwd).stdout;
}

function execute(command, args, cwd) {
  // What `npm run` tells its children about the workspace must not reach npm in the consumer's project.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([key]) => !/^npm_(?:package|lifecycle|config_local_prefix)/.test(key),
    ),
  );
  const result = spawnSync(command, args, {
    cwd,
    env,
    encoding: 'utf8',
    timeout: timeoutMs,
    maxBuffer: 64 * 2 ** 20,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (result.error) throw result.error;
  if (result.status !== 0) {
    const line = [basename(command), ...args].join(' ');
    throw new Error(
      `${line} ended with ${result.status ?? result.signal}\n${result.stdout}\n${result.stderr}`,
    );
  }
  return result;
}

function pick(object, keys) {
  return Object.fromEntries(keys.map((key) => [key, object[key]]));
}

/** `node_modules/@scope/name` to `@scope/name`, wherever it is nested. */
function packageName(path) {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
}

function filesUnder(directory) {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((path) => join(directory, path));
}

function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

function writeJson(path, value) {
  writeFileSync(path, `${JSON.stringify(value, undefined, 2)}\n`);
}

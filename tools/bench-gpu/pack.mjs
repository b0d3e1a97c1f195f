/**
 * Assembles `.kit/` (ignored by git): everything that a Linux machine with an NVIDIA driver, and nothing else installed,
 * needs to run and measure this engine. See README.md beside this file.
 *
 *     node tools/bench-gpu/pack.mjs [--peer] [--nano] [--fresh]
 *
 * --peer   also node-llama-cpp with its Vulkan binary, to compare with; installed from the registry
 * --nano   also the bundled model's weights
 * --fresh  make the parts anew that seldom change: Node, the loader, the peer
 *
 * Packages and native code must have been built (`npm ci`). Run it on Debian with the processor of the target.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(dirname(here));
const kit = join(root, '.kit');
const { values: flags } = parseArgs({
  options: {
    peer: { type: 'boolean', default: false },
    nano: { type: 'boolean', default: false },
    fresh: { type: 'boolean', default: false },
  },
});

/** The version whose figures our documents compare with. */
const peerVersion = '3.22.1';

/** The Vulkan loader, and what NVIDIA's driver links: it is an OpenGL driver too. */
const loaderPackages = ['libvulkan1', 'libegl1', 'libglvnd0', 'libopengl0', 'libgl1', 'libglx0', 'libgles2'];

/** Commands and libraries that the scripts beside this one begin from. */
const roots = ['cli', 'backend-vulkan', 'conformance'];

/** Needed to compile addons, not to run them. */
const buildOnly = new Set(['node-addon-api', 'node-api-headers']);

mkdirSync(kit, { recursive: true });
if (flags.fresh) for (const file of readdirSync(kit)) rmSync(join(kit, file), { recursive: true });
part('node.tar.xz', packNode);
part('loader', fetchLoader);
if (flags.peer) part('peer.tar.xz', packPeer);
else rmSync(join(kit, 'peer.tar.xz'), { force: true });
packEngine();
copyFileSync(join(here, 'setup.sh'), join(kit, 'setup.sh'));
report();

/** Makes a part unless it is there. */
function part(name, make) {
  if (!existsSync(join(kit, name))) make(join(kit, name));
}

/** Runs `fill` on an empty folder and packs what it leaves there. */
function archive(path, fill) {
  const folder = mkdtempSync(join(tmpdir(), 'unicorn-kit-'));
  try {
    fill(folder);
    const names = readdirSync(folder);
    // Addons and Node are of one kind of code: a window that holds all of it pays.
    execFileSync('tar', ['-C', folder, '-I', 'xz -9e -T0', '-cf', path, ...names], { stdio: 'inherit' });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function packNode(path) {
  archive(path, (folder) => {
    mkdirSync(join(folder, 'bin'));
    const node = join(folder, 'bin', 'node');
    copyFileSync(process.execPath, node);
    chmodSync(node, 0o755);
    execFileSync('strip', [node]);
  });
}

function fetchLoader(path) {
  mkdirSync(path);
  execFileSync('apt-get', ['-qq', 'download', ...loaderPackages], {
    cwd: path,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

function packPeer(path) {
  archive(path, (folder) => {
    const project = join(folder, 'project');
    mkdirSync(project);
    writeFileSync(join(project, 'package.json'), '{ "private": true }\n');
    // The binaries of all systems are optional dependencies: only the one that is meant is wanted.
    const names = ['node-llama-cpp', '@node-llama-cpp/linux-x64-vulkan'].map(
      (name) => `${name}@${peerVersion}`,
    );
    const options = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--loglevel=error'];
    execFileSync('npm', ['install', ...options, ...names], { cwd: project, stdio: 'inherit' });
    copyModules(['node-llama-cpp', '@node-llama-cpp/linux-x64-vulkan'], project, join(folder, 'peer'));
    rmSync(project, { recursive: true });
  });
}

function packEngine() {
  archive(join(kit, 'engine.tar.xz'), (folder) => {
    const names = roots.map((name) => `@unicorn-exec/${name}`);
    copyModules(names, root, folder);
    mkdirSync(join(folder, 'bench-gpu'));
    for (const file of readdirSync(here).filter(
      (name) => name.endsWith('.mjs') && name !== basename(fileURLToPath(import.meta.url)),
    )) {
      copyFileSync(join(here, file), join(folder, 'bench-gpu', file));
    }
  });
}

/** Copies packages and all that they depend on from where they lie below `from` to the same places below `to`. */
function copyModules(names, from, to) {
  const copied = new Set();
  const visit = (name, parent) => {
    const source = locate(name, parent);
    if (buildOnly.has(name) || copied.has(source)) return;
    copied.add(source);
    const included = name.startsWith('@unicorn-exec/') ? ownFile : foreignFile;
    cpSync(source, join(to, relative(from, source)), {
      recursive: true,
      dereference: true,
      filter: (path) => included(relative(source, path).split(sep), statSync(path).isDirectory()),
    });
    const { dependencies = {} } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
    for (const dependency of Object.keys(dependencies)) visit(dependency, source);
  };
  for (const name of names) visit(name, from);
}

/** The folder of a package as Node finds it from `parent`; its exports need not name package.json. */
function locate(name, parent) {
  const folders = createRequire(join(parent, 'package.json')).resolve.paths(name) ?? [];
  const folder = folders
    .map((each) => join(each, name))
    .find((each) => existsSync(join(each, 'package.json')));
  if (folder === undefined) throw new Error(`${name} is not installed: run npm ci first.`);
  return folder;
}

/** What of our own packages runs: ES modules, addons, compiled shaders, the maker of random weights. */
function ownFile([first = '', ...rest], isFolder) {
  const path = [first, ...rest].join('/');
  if (isFolder)
    return !['node_modules', 'src', 'test', 'native'].includes(first) && !path.includes('CMakeFiles');
  if (first === 'build') return /^build\/Release\/unicorn_\w+\.node$/.test(path);
  if (first === 'nano.gguf') return flags.nano;
  return /(?:\.m?js|package\.json|shaders\/compiled\/[^/]+)$/.test(path) && !path.includes('.config.');
}

/** Third-party packages without what only people and compilers read, and without sources of native code. */
function foreignFile(path, isFolder) {
  const name = path.at(-1);
  if (isFolder)
    return !['.git', 'test', 'tests', 'docs', 'xpack', 'toolchains', 'grammars', 'addon'].includes(name);
  return !/\.(?:map|d\.[cm]?ts|md|bundle|c|cc|cpp|h|hpp)$/i.test(name);
}

/** Bytes of each part, and of what travels with it when the working tree does. */
function report() {
  let total = 0;
  const sizeOf = (path) =>
    statSync(path).isDirectory()
      ? readdirSync(path).reduce((sum, file) => sum + sizeOf(join(path, file)), 0)
      : statSync(path).size;
  for (const file of readdirSync(kit)) {
    const bytes = sizeOf(join(kit, file));
    total += bytes;
    console.log(`${(bytes / 2 ** 20).toFixed(1).padStart(6)} MiB  .kit/${file}`);
  }
  console.log(`${(total / 2 ** 20).toFixed(1).padStart(6)} MiB  in all`);
}

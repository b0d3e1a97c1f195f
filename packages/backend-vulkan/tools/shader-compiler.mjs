/**
 * Finds the pinned shader compiler, or fetches it: Debian 13's glslc with the libc and libstdc++ that it was built for,
 * unpacked into a folder of its own and started through its own dynamic loader, so that it runs on older systems and
 * installs nothing. Debian's packages are signed; those that decide the output are pinned by hash as well.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { compilerId } from './shader-inputs.mjs';

const suite = 'trixie';
const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** What decides the output, by the sha256 of Debian's amd64 packages. */
const pinned = {
  glslc: ['2025.2-1', 'e05374965709159303041b104d4a26022d6ac5eb8296450364d66ae864a20367'],
  libshaderc1: ['2025.2-1', '2a67c8f784c65e1aa0d251819c020917405b490fbb543c6a73a52a631e476463'],
  'spirv-tools': ['2025.1~rc1-1', '2cc272ef1340cf0b47de6c5fcccaf91574d7a8f4061abb718d6c639463e85aab'],
};
/** What it only runs on: any version of the suite will do, and security updates replace them. */
const runtime = ['libc6', 'libgcc-s1', 'libstdc++6'];

const keptFiles = {
  'usr/bin': /^(?:glslc|spirv-(?:opt|val|dis))$/,
  'usr/lib64': /^ld-linux-x86-64\.so\.2$/,
  'usr/lib/x86_64-linux-gnu': /^(?:ld-linux-x86-64|lib(?:c|m|pthread|dl|gcc_s|stdc\+\+|shaderc))\.so\.\d+$/,
};

const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');

/** Where `fetchCompiler` unpacks to; `UNICORN_GLSLC` names another folder of the same layout. */
export const compilerFolder = process.env.UNICORN_GLSLC ?? join(cache, 'unicorn', `glslc-${pinned.glslc[0]}`);

/** Started through the folder's own loader, with none but the folder's own libraries. */
function commandOf(name) {
  const loader = join(compilerFolder, 'usr/lib64/ld-linux-x86-64.so.2');
  const libraries = join(compilerFolder, 'usr/lib/x86_64-linux-gnu');
  return [loader, '--library-path', libraries, join(compilerFolder, 'usr/bin', name)];
}

/** Runs a program of the compiler's folder. @returns {Promise<{code: number, output: string}>} */
export function runTool(name, args) {
  const [program, ...prefix] = commandOf(name);
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...prefix, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (data) => (output += data));
    child.stderr.on('data', (data) => (output += data));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

/** @returns {string | undefined} why the compiler cannot be used, or undefined when it is there and the right one */
export function compilerProblem() {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return 'the pinned compiler is for Linux on x86-64';
  if (!existsSync(commandOf('glslc')[0])) return `the pinned compiler is not in ${compilerFolder}`;
  const [program, ...args] = commandOf('glslc');
  const lines = execFileSync(program, [...args, '--version'], { encoding: 'utf8' })
    .split('\n')
    .slice(0, 3);
  const id = lines.map((line) => line.trim().replace(/^spirv-tools .*/, `spirv-tools ${line.split(' ')[1]}`));
  const found = [id[0], id[2], id[1]].join(', ');
  return found === compilerId ? undefined : `the compiler is ${found} and ought to be ${compilerId}`;
}

/**
 * Downloads and unpacks the compiler with apt, from the mirror that this machine uses, by package lists of its own: what
 * the machine has installed and its own lists are not touched. About 10 MB.
 */
export function fetchCompiler() {
  if (!existsSync(keyring)) throw new Error(`${keyring} is missing: apt-get install debian-archive-keyring`);
  const folder = mkdtempSync(join(tmpdir(), 'unicorn-glslc-'));
  try {
    const packages = join(folder, 'packages');
    const unpacked = join(folder, 'unpacked');
    for (const name of ['lists/partial', 'cache/archives/partial', 'state', 'packages']) {
      mkdirSync(join(folder, name), { recursive: true });
    }
    writeFileSync(join(folder, 'status'), '');
    writeFileSync(
      join(folder, 'sources.list'),
      `deb [signed-by=${keyring} arch=amd64] ${debianMirror()} ${suite} main\n`,
    );
    const settings = {
      'Dir::State': join(folder, 'state'),
      'Dir::State::Lists': join(folder, 'lists'),
      'Dir::State::Status': join(folder, 'status'),
      'Dir::Cache': join(folder, 'cache'),
      'Dir::Etc::SourceList': join(folder, 'sources.list'),
      'Dir::Etc::SourceParts': '/dev/null',
      'Dir::Etc::Preferences': '/dev/null',
      'Dir::Etc::PreferencesParts': '/dev/null',
      'APT::Architecture': 'amd64',
      'APT::Sandbox::User': 'root',
      'Acquire::Languages': 'none',
    };
    const config = join(folder, 'apt.conf');
    const lines = Object.entries(settings).map(([key, value]) => `${key} "${value}";\n`);
    writeFileSync(config, lines.join(''));
    const apt = (...args) =>
      execFileSync('apt-get', ['-qq', ...args], {
        cwd: packages,
        env: { ...process.env, APT_CONFIG: config },
        stdio: ['ignore', 'ignore', 'inherit'],
      });
    apt('update');
    apt('download', ...Object.entries(pinned).map(([name, [version]]) => `${name}=${version}`), ...runtime);
    for (const file of readdirSync(packages)) {
      const pin = pinned[file.split('_')[0]];
      const sha256 = createHash('sha256')
        .update(readFileSync(join(packages, file)))
        .digest('hex');
      if (pin && pin[1] !== sha256)
        throw new Error(`${file} has the sha256 ${sha256} and ought to have ${pin[1]}.`);
      execFileSync('dpkg-deb', ['-x', join(packages, file), unpacked]);
    }
    // Headers, archives and documents are in there too: only what runs is kept.
    rmSync(compilerFolder, { recursive: true, force: true });
    for (const [path, pattern] of Object.entries(keptFiles)) {
      mkdirSync(join(compilerFolder, path), { recursive: true });
      for (const file of readdirSync(join(unpacked, path)).filter((name) => pattern.test(name))) {
        cpSync(join(unpacked, path, file), join(compilerFolder, path, file), { dereference: true });
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The address of the first Debian archive among this machine's own sources. */
function debianMirror() {
  const addresses = execFileSync('apt-get', ['indextargets', '--format', '$(REPO_URI)'], {
    encoding: 'utf8',
  });
  const archive = addresses.split('\n').find((address) => /\/debian\/?$/.test(address));
  if (archive === undefined) throw new Error('apt knows no Debian archive here: run this on Debian.');
  return archive;
}

/**
 * Whether a GPU computes what it should, found out in a process of its own: a driver that crashes or hangs takes that one
 * with it and no other. The verdict is kept for each user until the package, the addon or a driver changes.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { homedir, release } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { parseJson, writeAtomically } from '@unicorn-exec/tensor';
import { builtFile, packageVersion } from '../package-folder.js';
import type { KnownBackend } from './backends.js';

/** Names a folder for the verdicts; empty: nothing is kept. Default: `unicorn/self-test` in XDG_CACHE_HOME or `~/.cache`. */
export const selfTestCacheVariable = 'UNICORN_SELF_TEST_CACHE';

/** The device that a self-test was about. */
export interface TestedDevice {
  readonly uuid: string;
  readonly name: string;
  /** Name and version of the driver. */
  readonly driver: string;
}

/** What came of a self-test. */
export interface SelfTestVerdict {
  readonly passed: boolean;
  /** Absent where none was found that is real, or listing them already failed. */
  readonly device?: TestedDevice;
  /** A sentence that says what failed; absent when it passed. */
  readonly reason?: string;
  readonly fix?: string;
}

/** What the process of a self-test writes, a line of JSON each, before it begins a stage and at its end. */
export type SelfTestLine =
  { readonly stage: string; readonly device?: TestedDevice } | { readonly verdict: SelfTestVerdict };

export interface SelfTestOptions {
  /** A JavaScript module that is run with the backend's name as its argument. Default: the one of this package. */
  readonly program?: string;
  /** Default 60 s: compiling the shaders for the first time is most of it. */
  readonly timeoutMs?: number;
  /** Takes drivers that compute on the CPU for real, which only tests want. Default false. */
  readonly acceptSoftware?: boolean;
}

const defaultTimeoutMs = 60_000;

/** More than a sound test writes. */
const maxOutput = 1 << 16;

/** Runs the test of a backend's first real device now. Never throws, and ends within the time. */
export function runSelfTest(
  backend: string,
  {
    program = builtFile('self-test-child.js'),
    timeoutMs = defaultTimeoutMs,
    acceptSoftware = false,
  }: SelfTestOptions = {},
): Promise<SelfTestVerdict> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [program, backend, ...(acceptSoftware ? ['--software'] : [])], {
      stdio: ['ignore', 'pipe', 'ignore'],
      // What a debugger or a test runner asks of this process is not meant for that one.
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    let output = '';
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      child.kill('SIGKILL');
      // A process that waits in the kernel for its driver does not end, and nobody need wait for it.
      child.stdout.destroy();
      child.unref();
      settle('');
    }, timeoutMs);
    const settle = (end: string): void => {
      clearTimeout(timer);
      resolve(verdictOf(output, isLate ? `did not end within ${Math.round(timeoutMs / 1000)} s` : end));
    };
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (text: string) => {
      if (output.length < maxOutput) output += text;
    });
    child.on('error', (error) => settle(`could not be started (${error.message})`));
    child.on('close', (code, signal) =>
      settle(signal ? `was ended by the signal ${signal}` : `ended with exit code ${code}`),
    );
  });
}

/** @param end what became of the process, for when it gave no verdict */
function verdictOf(output: string, end: string): SelfTestVerdict {
  let stage = 'starting';
  let device: TestedDevice | undefined;
  for (const text of output.split('\n')) {
    const line = lineOf(text);
    if (!line) continue;
    if ('verdict' in line) return line.verdict;
    ({ stage } = line);
    device = line.device ?? device;
  }
  return {
    passed: false,
    ...(device ? { device } : {}),
    reason: `The self-test${device ? ` of ${device.name}` : ''} ${end} while ${stage}.`,
    fix: 'Install a newer driver, then: unicorn doctor --self-test',
  };
}

/** Drivers write to stdout too. */
function lineOf(text: string): SelfTestLine | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    const line = parseJson(text) as Partial<{ stage: unknown; verdict: { passed?: unknown } }>;
    const isLine = typeof line.stage === 'string' || typeof line.verdict?.passed === 'boolean';
    return isLine ? (line as SelfTestLine) : undefined;
  } catch {
    return undefined;
  }
}

/** The verdict about a backend on disk. A file that is damaged, or of other software, is treated as absent. */
export class VerdictFile {
  /** Undefined when nothing is kept. */
  readonly path: string | undefined;

  constructor(
    backend: string,
    private readonly key: string,
    folder = verdictFolder(),
  ) {
    this.path = folder === undefined ? undefined : join(folder, `${backend}.json`);
  }

  read(): SelfTestVerdict | undefined {
    if (this.path === undefined) return undefined;
    try {
      const found = parseJson(readFileSync(this.path, 'utf8')) as {
        key?: unknown;
        verdict?: SelfTestVerdict;
      };
      const isVerdict = found.key === this.key && typeof found.verdict?.passed === 'boolean';
      return isVerdict ? found.verdict : undefined;
    } catch {
      return undefined;
    }
  }

  /** Where it cannot be kept the test is run again the next time. */
  async write(verdict: SelfTestVerdict): Promise<void> {
    if (this.path === undefined) return;
    const text = `${JSON.stringify({ key: this.key, verdict }, undefined, 1)}\n`;
    await writeAtomically(this.path, text, { makeDirectory: true }).catch(() => {});
  }
}

function verdictFolder({ [selfTestCacheVariable]: named, XDG_CACHE_HOME: cache } = process.env) {
  if (named !== undefined) return named === '' ? undefined : named;
  return join(cache || join(homedir(), '.cache'), 'unicorn', 'self-test');
}

/**
 * What a verdict depends on and can be known without touching a driver, which may be what crashes: this package, the
 * addon, the kernel, and the drivers' files. Device and driver as the backend names them are compared afterwards.
 */
export async function softwareKey({ nativeFile, driverFolders = [], driverVariables = [] }: KnownBackend) {
  const manifests = driverFolders.flatMap((folder) => filesIn(folder));
  const parts = [
    packageVersion(),
    release(),
    stamp(await nativeFile?.()),
    ...driverVariables.map((name) => `${name}=${process.env[name] ?? ''}`),
    ...manifests.flatMap((path) => [stamp(path), ...libraryOf(path).map(stamp)]),
  ];
  return createHash('sha256').update(parts.join('\n')).digest('hex');
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .sort()
      .map((name) => join(folder, name));
  } catch {
    return [];
  }
}

/** Where loaders look for libraries that are given without a folder. */
const libraryFolders = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib'];

/** The library that a driver's description names. */
function libraryOf(manifest: string): string[] {
  try {
    const { ICD } = parseJson(readFileSync(manifest, 'utf8')) as { ICD?: { library_path?: unknown } };
    const library = ICD?.library_path;
    if (typeof library !== 'string') return [];
    if (isAbsolute(library)) return [library];
    if (library.includes('/')) return [join(dirname(manifest), library)];
    return libraryFolders.map((folder) => join(folder, library));
  } catch {
    return [];
  }
}

/** Changes whenever a file does, which packages replace and links lead to. */
function stamp(path: string | undefined): string {
  if (path === undefined) return 'none';
  try {
    const target = realpathSync(path);
    const { size, mtimeMs } = statSync(target);
    return `${target} ${size} ${mtimeMs}`;
  } catch {
    return `${path} absent`;
  }
}

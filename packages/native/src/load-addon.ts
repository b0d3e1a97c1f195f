/**
 * Finds and loads an addon: from an explicit path, the prebuilt package of the platform, or the local build. For each
 * attempt it says why it failed and what would mend it.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { bundlerFix, isPackageFolder, UnicornError } from '@unicorn-exec/tensor';
import { capitalized, type AddonConfig } from './addon-config.js';

/** One place where an addon was looked for. */
export interface AddonAttempt {
  /** `environment`, `prebuilt`, `local build`, or `package` where the code does not lie in its package. */
  readonly what: string;
  /** A file, or the name of the prebuilt package. */
  readonly path: string;
  /** Why it was not loaded. Absent when it was. */
  readonly reason?: string;
  /** What would mend it: a command or a sentence. Absent when it was loaded. */
  readonly fix?: string;
}

/** The result of looking for an addon. */
export interface AddonDiagnosis<Addon> {
  /** Absent when no attempt succeeded. */
  readonly loaded?: { readonly addon: Addon; readonly path: string };
  /** In the order in which they were made. */
  readonly attempts: readonly AddonAttempt[];
}

const debianPackages = 'apt-get install g++ cmake make';

interface Candidate {
  readonly what: string;
  readonly path: string;
  readonly fix: string;
}

function candidates(
  { package: name, folder, name: file, variable }: AddonConfig<never>,
  explicit: string,
): Candidate[] {
  if (explicit !== '') {
    // Where a file was named, nothing else is tried.
    return [{ what: 'environment', path: explicit, fix: `Correct or unset ${variable}.` }];
  }
  const prebuilt = `${name}-${process.platform}-${process.arch}`;
  return [
    { what: 'prebuilt', path: prebuilt, fix: `npm install ${prebuilt}` },
    {
      what: 'local build',
      path: join(folder, 'build', 'Release', `${file}.node`),
      fix: `${debianPackages} && node ${shellWord(join(folder, 'tools', 'build-native.mjs'))}`,
    },
  ];
}

/** @returns the addon, or why it cannot be used */
function tryLoad<Addon>(path: string, { folder, version, check }: AddonConfig<Addon>): Addon | string {
  // A prebuilt package is a dependency of the addon's package, and only from there is it surely found.
  const require = createRequire(join(folder, 'package.json'));
  try {
    const addon = require(path) as Addon & { readonly version?: number };
    if (addon.version !== version) {
      return `it is of version ${addon.version}, and this package wants ${version}`;
    }
    check?.(addon);
    return addon;
  } catch (error) {
    return (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
  }
}

/**
 * Looks for an addon, one attempt after the other until one loads. Never throws.
 *
 * @param explicit a file to load instead of the usual ones; empty for none. Default: what the config's variable says
 */
export function diagnoseAddon<Addon>(
  config: AddonConfig<Addon>,
  explicit: string = process.env[config.variable] ?? '',
): AddonDiagnosis<Addon> {
  const attempts: AddonAttempt[] = [];
  if (explicit === '' && !isPackageFolder(config.folder, config.package)) {
    const reason = `its code was moved away from ${config.package}, as bundlers do`;
    return { attempts: [{ what: 'package', path: config.folder, reason, fix: bundlerFix }] };
  }
  for (const { what, path, fix } of candidates(config, explicit)) {
    if (what !== 'prebuilt' && !existsSync(path)) {
      attempts.push({ what, path, reason: 'there is no such file', fix });
      continue;
    }
    const outcome = tryLoad(path, config);
    if (typeof outcome !== 'string') {
      attempts.push({ what, path });
      return { loaded: { addon: outcome, path }, attempts };
    }
    attempts.push({ what, path, reason: outcome, fix });
  }
  return { attempts };
}

/**
 * The error that tells of all attempts of a diagnosis without success: `device/addon`, with `fields.attempts`, and the fix
 * of the last.
 */
export function addonError<Addon>(
  { title, device }: AddonConfig<Addon>,
  { attempts }: AddonDiagnosis<Addon>,
): UnicornError {
  const tried = attempts.map(({ what, path, reason }) => `${what} ${path}: ${reason}`);
  return new UnicornError(
    'device/addon',
    `${capitalized(title)} could not be loaded. Tried: ${tried.join('; ')}.`,
    {
      fields: {
        ...(device === undefined ? {} : { device }),
        attempts: attempts.map((attempt) => ({ ...attempt })),
      },
      fix: attempts.at(-1)!.fix!,
    },
  );
}

/** Addons that were loaded, by their config. */
const loadedAddons = new WeakMap<AddonConfig<never>, unknown>();

/**
 * The addon of this process (or worker thread), loaded at the first call with that config. Loading that failed is tried
 * again at the next call.
 *
 * @throws UnicornError `device/addon` with each attempt and its fix
 */
export function loadAddon<Addon>(config: AddonConfig<Addon>): Addon {
  const known = loadedAddons.get(config) as Addon | undefined;
  if (known !== undefined) return known;
  const diagnosis = diagnoseAddon(config);
  if (!diagnosis.loaded) throw addonError(config, diagnosis);
  loadedAddons.set(config, diagnosis.loaded.addon);
  return diagnosis.loaded.addon;
}

/** A path as a POSIX shell takes it for one word, in a command that the reader copies. */
export const shellWord = (path: string): string =>
  /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;

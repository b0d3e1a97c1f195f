/**
 * Finds and loads the addon: an explicit path, the prebuilt package of the platform, the local build. Remembers the
 * outcome; says of each attempt why it failed and what would mend it. Loading it opens no driver yet: `probe` does.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UnicornError } from '@unicorn-exec/tensor';
import type { NativeAddon } from './addon.js';

/** Names a file to load instead of the usual ones. */
export const addonVariable = 'UNICORN_VULKAN_ADDON';

/** Version of the functions between this package and the addon; a stale build of another one is refused. */
export const addonVersion = 2;

export interface AddonAttempt {
  /** `environment`, `prebuilt` or `local build`. */
  readonly what: string;
  readonly path: string;
  /** Absent when it was loaded. */
  readonly reason?: string;
  readonly fix?: string;
}

export interface AddonDiagnosis {
  readonly loaded?: { readonly addon: NativeAddon; readonly path: string };
  /** In the order in which they were made. */
  readonly attempts: readonly AddonAttempt[];
}

const debianPackages = 'apt-get install g++ cmake make';

/** The folder of this package: both `src` and `dist` lie directly in it. */
export const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));

const localBuild = join(packageFolder, 'build', 'Release', 'unicorn_vulkan.node');

/** @returns the addon, or why it cannot be used */
function tryLoad(path: string): NativeAddon | string {
  const require = createRequire(import.meta.url);
  try {
    const addon = require(path) as NativeAddon;
    if (addon.version === addonVersion) return addon;
    return `it is of version ${addon.version}, and this package wants ${addonVersion}`;
  } catch (error) {
    return (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
  }
}

function candidates(explicit: string | undefined): { what: string; path: string; fix: string }[] {
  const rebuild = `${debianPackages} && node ${join(packageFolder, 'tools', 'build-native.mjs')}`;
  if (explicit !== undefined) {
    // Whoever names a file means that file: nothing else is tried.
    return [{ what: 'environment', path: explicit, fix: `Correct or unset ${addonVariable}.` }];
  }
  const prebuilt = `@unicorn-exec/backend-vulkan-${process.platform}-${process.arch}`;
  return [
    { what: 'prebuilt', path: prebuilt, fix: `npm install ${prebuilt}` },
    { what: 'local build', path: localBuild, fix: rebuild },
  ];
}

/** One attempt after the other until one loads. */
export function diagnoseAddon(explicit = process.env[addonVariable]): AddonDiagnosis {
  const attempts: AddonAttempt[] = [];
  for (const { what, path, fix } of candidates(explicit === '' ? undefined : explicit)) {
    if (what !== 'prebuilt' && !existsSync(path)) {
      attempts.push({ what, path, reason: 'there is no such file', fix });
      continue;
    }
    const outcome = tryLoad(path);
    if (typeof outcome !== 'string') {
      attempts.push({ what, path });
      return { loaded: { addon: outcome, path }, attempts };
    }
    attempts.push({ what, path, reason: outcome, fix });
  }
  return { attempts };
}

let remembered: NativeAddon | undefined;

/**
 * The addon of this process (or worker thread), loaded once.
 *
 * @throws UnicornError `device/addon` with each attempt and its fix
 */
export function loadAddon(): NativeAddon {
  if (remembered) return remembered;
  const { loaded, attempts } = diagnoseAddon();
  if (loaded) return (remembered = loaded.addon);
  const tried = attempts.map(({ what, path, reason }) => `${what} ${path}: ${reason}`);
  throw new UnicornError(
    'device/addon',
    `The native part of the Vulkan backend could not be loaded. Tried: ${tried.join('; ')}.`,
    { fields: { attempts: attempts.map((attempt) => ({ ...attempt })) }, fix: attempts.at(-1)!.fix! },
  );
}

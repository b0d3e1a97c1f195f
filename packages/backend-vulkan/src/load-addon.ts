/** Finds the addon `unicorn_vulkan` and loads it once. Loading it does not open a driver; `probe` does. */
import * as native from '@unicorn-exec/native';
import type { AddonConfig, AddonDiagnosis } from '@unicorn-exec/native';
import { packageFolderOf } from '@unicorn-exec/tensor';
import type { NativeAddon } from './addon.js';

/** Names a file to load instead of the usual ones. */
export const addonVariable = 'UNICORN_VULKAN_ADDON';

export const addonConfig: AddonConfig<NativeAddon> = {
  package: '@unicorn-exec/backend-vulkan',
  // Both `src` and `dist` lie directly in it.
  folder: packageFolderOf(import.meta.url),
  name: 'unicorn_vulkan',
  title: 'the native part of the Vulkan backend',
  device: 'vulkan',
  variable: addonVariable,
  // `addonVersion` of native/addon.cpp.
  version: 4,
};

/**
 * Looks for the addon, one attempt after the other until one loads. Never throws.
 *
 * @param explicit a file to load instead of the usual ones. Default: what {@link addonVariable} says
 */
export function diagnoseAddon(explicit?: string): AddonDiagnosis<NativeAddon> {
  return native.diagnoseAddon(addonConfig, explicit);
}

/**
 * The addon of this process (or worker thread), loaded once.
 *
 * @throws UnicornError `device/addon` with each attempt and its fix
 */
export function loadAddon(): NativeAddon {
  return native.loadAddon(addonConfig);
}

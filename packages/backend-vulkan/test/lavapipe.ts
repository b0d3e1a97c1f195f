/**
 * Which driver the tests run on. Set-up of every test process of this package, before the Vulkan loader is opened:
 * lavapipe, Mesa's driver that computes on the CPU, and nothing else, under the Khronos validation layer, whose messages
 * fail the file that caused them.
 *
 * `UNICORN_TEST_VULKAN=native` runs the tests on the machine's own devices instead, with whatever layers the environment
 * names. Tests that need a device are skipped by name where there is none: `describe.skipIf(!driver.present)`.
 */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const native = process.env['UNICORN_TEST_VULKAN'] === 'native';

/** Where loaders look for the descriptions of drivers and layers on Linux. */
const folders = ['/etc/vulkan', '/usr/local/share/vulkan', '/usr/share/vulkan'];

function find(kind: string, pattern: RegExp): string | undefined {
  for (const folder of folders.map((each) => join(each, kind))) {
    const file = existsSync(folder) ? readdirSync(folder).find((name) => pattern.test(name)) : undefined;
    if (file !== undefined) return join(folder, file);
  }
  return undefined;
}

const lavapipe = find('icd.d', /^lvp_icd.*\.json$/);
const validation = find('explicit_layer.d', /^VkLayer_khronos_validation\.json$/);

export const driver = {
  /** False: there is nothing to run on. */
  present: native || lavapipe !== undefined,
  /** Part of the names of what is skipped. */
  need: 'needs mesa-vulkan-drivers',
  /** True: messages of the validation layer fail the tests. */
  validated: !native && validation !== undefined,
};

let logFolder: string | undefined;

/** Sets the environment that the loader and lavapipe read. Call it before the addon is loaded. */
export function chooseDriver(): void {
  if (native || lavapipe === undefined) return;
  process.env['VK_DRIVER_FILES'] = lavapipe;
  // What loaders before 1.3.207 read.
  process.env['VK_ICD_FILENAMES'] = lavapipe;
  process.env['LP_NUM_THREADS'] = '2';
  // Layers that choose among or draw upon devices are of no use here.
  process.env['NODEVICE_SELECT'] = '1';
  if (validation === undefined) return;
  logFolder = mkdtempSync(join(tmpdir(), 'unicorn-validation-'));
  const settings = {
    debug_action: 'VK_DBG_LAYER_ACTION_LOG_MSG',
    report_flags: 'error,warn',
    log_filename: join(logFolder, 'messages'),
    // The default drops a message after ten times: here the first is one too many.
    enable_message_limit: 'true',
    duplicate_message_limit: '3',
  };
  const lines = Object.entries(settings).map(([key, value]) => `khronos_validation.${key} = ${value}\n`);
  writeFileSync(join(logFolder, 'vk_layer_settings.txt'), lines.join(''));
  process.env['VK_LAYER_SETTINGS_PATH'] = logFolder;
  process.env['VK_INSTANCE_LAYERS'] = 'VK_LAYER_KHRONOS_validation';
}

/** What the validation layer has said so far in this process; empty when all is well. */
export function validationMessages(): string {
  const log = logFolder === undefined ? undefined : join(logFolder, 'messages');
  return log !== undefined && existsSync(log) ? readFileSync(log, 'utf8').trim() : '';
}

export function forgetValidation(): void {
  if (logFolder !== undefined) rmSync(logFolder, { recursive: true, force: true });
  logFolder = undefined;
}

/**
 * The GPU of `auto`: taken where one is real, has passed its self-test and opens. Else it says why not. Where the kernel
 * shows no GPU nothing is loaded or asked, so that the first answer comes as early as ever.
 */
import { isUnicornError, type Device, type DeviceDescription } from '@unicorn-exec/tensor';
import { knownBackends, type KnownBackend } from './backends.js';
import { SystemTree } from './hardware/system-tree.js';
import type { GpuChoice } from './load-options.js';
import { runSelfTest, softwareKey, VerdictFile, type SelfTestVerdict } from './self-test.js';

/** `0`: the backend `auto` leaves GPUs alone. */
export const automaticGpuVariable = 'UNICORN_AUTO_GPU';

/** What the choice rests on; tests put other things in the place of the machine. */
export interface AutomaticDeviceOptions {
  /** Default: what the kernel shows. */
  readonly hasGpu?: () => boolean;
  /** Default: those of this release that are not the CPU. */
  readonly backends?: readonly KnownBackend[];
  readonly test?: (backend: string) => Promise<SelfTestVerdict>;
  /** Folder of the verdicts that are kept. */
  readonly folder?: string | undefined;
  /** Takes drivers that compute on the CPU for real. */
  readonly acceptSoftware?: boolean;
}

export interface AutomaticDevice {
  /** Open; the caller's to close. Absent: the CPU computes. */
  readonly device?: Device;
  /** Absent where there is no GPU to speak of. */
  readonly choice?: GpuChoice;
}

/** Whether there is a GPU that has a driver: a render node, NVIDIA's own nodes, or WSL's. It reads two folders. */
export function kernelShowsGpu(tree = new SystemTree()): boolean {
  if (tree.list('dev/dri', 'renderD').length > 0) return true;
  return tree.list('dev').some((name) => /^(nvidia\d+|dxg)$/.test(name));
}

/** Never throws for what a GPU or its driver does. */
export async function chooseGpu(options: AutomaticDeviceOptions = {}): Promise<AutomaticDevice> {
  if (process.env[automaticGpuVariable] === '0') return {};
  if (!(options.hasGpu ?? kernelShowsGpu)()) return {};
  let refused: GpuChoice | undefined;
  for (const known of options.backends ?? knownBackends.filter(({ isHost }) => !isHost)) {
    try {
      const found = await tryBackend(known, options);
      if (found.device) return found;
      refused ??= found.choice;
    } catch (error) {
      refused ??= declined(known.name, error instanceof Error ? error.message : String(error), fixOf(error));
    }
  }
  return refused ? { choice: refused } : {};
}

/**
 * The self-test of a backend: the verdict that is kept, else a new one.
 *
 * @param isAnew runs it in any case
 */
export async function selfTest(
  known: KnownBackend,
  { test, folder, acceptSoftware }: AutomaticDeviceOptions = {},
  isAnew = false,
): Promise<SelfTestVerdict> {
  const file = new VerdictFile(known.name, await softwareKey(known), folder);
  const kept = isAnew ? undefined : file.read();
  if (kept) return kept;
  const verdict = await (test?.(known.name) ??
    runSelfTest(known.name, acceptSoftware ? { acceptSoftware } : {}));
  await file.write(verdict);
  return verdict;
}

async function tryBackend(known: KnownBackend, options: AutomaticDeviceOptions): Promise<AutomaticDevice> {
  const { name } = known;
  const backend = await known.load();
  let verdict = await selfTest(known, options);
  if (!verdict.passed) return { choice: refusal(name, verdict) };
  // The test listed the devices of the same software without harm, so this process may.
  const find = async (): Promise<DeviceDescription | undefined> =>
    (await backend.probe()).find((device) => isTested(device, verdict));
  let tested = await find();
  if (!tested) {
    verdict = await selfTest(known, options, true);
    if (!verdict.passed) return { choice: refusal(name, verdict) };
    tested = await find();
  }
  if (!tested)
    return { choice: declined(name, 'The device that passed the self-test is not listed any more.') };
  const device = await backend.open(tested.id);
  return { device, choice: { taken: true, backend: name, device: tested.name } };
}

function isTested(described: DeviceDescription, { device }: SelfTestVerdict): boolean {
  if (!described.usable || !device) return false;
  const { hardware } = described.info;
  return hardware?.uuid === device.uuid && hardware.driver === device.driver;
}

const refusal = (backend: string, { reason, fix, device }: SelfTestVerdict): GpuChoice =>
  declined(backend, reason ?? 'It failed its self-test.', fix, device?.name);

/** The choice of the CPU in the place of a GPU, and why. */
export function declined(backend: string, reason: string, fix?: string, device?: string): GpuChoice {
  return {
    taken: false,
    backend,
    ...(device === undefined ? {} : { device }),
    reason,
    ...(fix === undefined ? {} : { fix }),
  };
}

export const fixOf = (error: unknown): string | undefined => (isUnicornError(error) ? error.fix : undefined);

/**
 * The rates that planners estimate with, measured on this machine's devices and kept by their backends: the next processes
 * find them in `info.speed`. What a device's memory yields at best is another figure: see `device-roof.ts`.
 */
import type { DeviceSpeed } from '@unicorn-exec/tensor';
import { backendNames, knownBackends, type BackendName } from '../machine/backends.js';
import { callback, checkOptions, choice, type OptionTable } from '../option.js';

export interface MeasureRatesOptions {
  /** Only this backend's devices. Default `auto`: those of every backend that measures. */
  readonly backend?: BackendName | undefined;
  /** Told before each device, which takes up to a few seconds. */
  readonly onStart?: ((device: { readonly backend: BackendName; readonly name: string }) => void) | undefined;
}

export interface DeviceRates {
  readonly backend: BackendName;
  /** As the backend's `probe` lists it. */
  readonly deviceId: string;
  /** For people. */
  readonly device: string;
  readonly speed: DeviceSpeed;
}

const ratesOptionTable: OptionTable<MeasureRatesOptions> = {
  backend: choice(...backendNames),
  onStart: callback,
};

/**
 * Measures each usable device of the backends that can. Nothing else should use the devices meanwhile.
 *
 * @throws UnicornError `usage/option`, and as opening the devices
 */
export async function measureRates(options: MeasureRatesOptions = {}): Promise<readonly DeviceRates[]> {
  checkOptions('measureRates', options, ratesOptionTable);
  const { backend: only = 'auto', onStart } = options;
  const rates: DeviceRates[] = [];
  for (const { name: backend, load } of knownBackends.filter(
    ({ name }) => only === 'auto' || name === only,
  )) {
    const loaded = await load();
    if (!loaded.measure) continue;
    // One after the other: devices share the memory that is measured.
    for (const { id, name, usable } of await loaded.probe()) {
      if (!usable) continue;
      onStart?.({ backend, name });
      rates.push({ backend, deviceId: id, device: name, speed: await loaded.measure(id) });
    }
  }
  return rates;
}

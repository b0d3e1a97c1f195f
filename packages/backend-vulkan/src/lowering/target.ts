/** The device that a plan is made for. */
import type { DeviceTraits } from '../dispatch/dispatch.js';
import type { KernelTable } from '../kernel/kernels.js';
import type { Prefetch } from '../dispatch/prefetch.js';

export interface Target {
  readonly traits: DeviceTraits;
  readonly table: KernelTable;
  /** The weights that are read ahead of products; none where absent. */
  readonly prefetch?: Prefetch;
  /** True: dispatches are chained where they can be. */
  readonly chains?: boolean;
}

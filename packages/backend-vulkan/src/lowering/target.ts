/** What a plan is made for. */
import type { DeviceTraits } from '../dispatch/dispatch.js';
import type { KernelTable } from '../kernel/kernels.js';
import type { Prefetch } from '../dispatch/prefetch.js';

export interface Target {
  readonly traits: DeviceTraits;
  readonly table: KernelTable;
  /** What is read ahead of products; nothing where absent. */
  readonly prefetch?: Prefetch;
  /** Dispatches are chained where they can be. */
  readonly chains?: boolean;
}

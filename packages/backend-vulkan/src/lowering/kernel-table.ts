/** The kernels as lowering knows them: a table that tests can replace. `kernel/kernels.ts` has the real one. */
import type { DeviceTraits } from '../dispatch.js';
import type {
  AttentionCall,
  Handoff,
  HeadsCall,
  Kernels,
  MatmulCall,
  SampleCall,
  ScratchOf,
} from '../kernel/operand.js';
import type { Prefetch } from '../prefetch.js';

/** What a kernel needs beside its operands, at the largest shapes; nothing where a function is absent. */
export interface KernelMemory<Call> {
  /** In the arena, for the time of its step. */
  readonly scratchBytes?: ScratchOf<Call>;
  /** Zero before the first use, left at zero. */
  readonly counterBytes?: ScratchOf<Call>;
}

export interface KernelTable {
  readonly kernels: Kernels;
  readonly memory: {
    readonly matmul: KernelMemory<MatmulCall>;
    readonly attention: KernelMemory<AttentionCall>;
    readonly sample: KernelMemory<SampleCall>;
  };
  /** Whether attention can do the heads before it too. Absent: heads are always done by themselves. */
  readonly attentionTakesHeads?: (call: AttentionCall, heads: HeadsCall, traits: DeviceTraits) => boolean;
  /** Absent: everything is prepared by itself. */
  readonly handoff?: Handoff;
}

/** What a plan is made for. */
export interface Target {
  readonly traits: DeviceTraits;
  readonly table: KernelTable;
  /** What is read ahead of products; nothing where absent. */
  readonly prefetch?: Prefetch;
  /** Dispatches are chained where they can be. */
  readonly chains?: boolean;
}

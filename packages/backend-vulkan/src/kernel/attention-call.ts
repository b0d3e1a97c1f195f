/** What attention is called with: over a paged cache, as `attention` of @unicorn-exec/tensor means it. */
import type { Place } from '../dispatch/dispatch.js';
import type { HeadsCall } from './heads.js';
import type { Faults, Operand } from './operand.js';

export interface AttentionCall {
  /** f32 [rows, heads, headDim]. */
  readonly query: Operand;
  readonly state: Operand;
  readonly positions: Operand;
  readonly starts: Operand;
  readonly blocks: Operand;
  readonly reach?: Operand;
  readonly out: Operand;
  /**
   * Leaves in place of `out` what `matmul` prepares of it for products in int8 form, the heads of a row one behind the
   * other: its only reader has `prepared`. Asked for where `quantizes` of the kernel says that it can.
   */
  readonly quantizes?: true;
  /**
   * Does these heads first, in place of a dispatch of their own: `query.out` is `query` here, which is not written, and
   * `stored.state` is `state`. Asked for where `takesHeads` of the kernel says that it can.
   */
  readonly heads?: HeadsCall;
  readonly scale: number;
  readonly window?: number;
  readonly softcap?: number;
  /** Queries, weights of keys and what a q8_0 state holds may be rounded to f16. */
  readonly fast?: boolean;
  /** No query sees a key at or beyond this position: bounds the number of sections. At most columns * blockTokens. */
  readonly keys: number;
  readonly scratch: Place;
  readonly counters: Place;
  readonly faults: Faults;
}

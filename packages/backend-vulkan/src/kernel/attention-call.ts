/** The call of attention over a paged cache. Its meaning is `attention` of @unicorn-exec/tensor. */
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
   * True: writes, in place of `out`, what `matmul` would prepare of it for products in int8 form, the heads of a row one
   * behind the other. Its only reader has `prepared`. Only where `quantizes` of the kernel says that it can.
   */
  readonly quantizes?: true;
  /**
   * Heads to do first, in place of a dispatch of their own: their `query.out` is `query` here, which is not written, and
   * `stored.state` is `state`. Only where `takesHeads` of the kernel says that it can.
   */
  readonly heads?: HeadsCall;
  readonly scale: number;
  readonly window?: number;
  readonly softcap?: number;
  /** True: queries, weights of keys and the elements of a q8_0 state may be rounded to f16. */
  readonly fast?: boolean;
  /** No query sees a key at or beyond this position: bounds the number of sections. At most columns * blockTokens. */
  readonly keys: number;
  readonly scratch: Place;
  readonly counters: Place;
  readonly faults: Faults;
}

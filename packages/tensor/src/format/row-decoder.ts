/** The shape that every decoder of this folder has. Ranges are checked once, by `decodeRow`. */

/**
 * Decodes `count` elements (block formats: `count` whole blocks) that start at byte `from` of `bytes` into `out`
 * from element `to` on. Reads and writes nothing else.
 */
export type RowDecoder = (
  bytes: Uint8Array,
  from: number,
  count: number,
  out: Float32Array,
  to: number,
) => void;

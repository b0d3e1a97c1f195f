/**
 * Tilings that this package ships for devices of known traits, in the form in which tuning finds them. What was tuned on the
 * machine itself comes first; for what neither says, the rules of `kernel/lane-tile.ts` and `kernel/matrix-tile.ts` hold.
 *
 * None of these was measured on its device: each value is reasoned from what the hardware is documented to be.
 */
import type { PhysicalDevice } from '../addon.js';
import type { Tuning } from './tuning.js';

interface Shipped {
  /** The device's name, for people. */
  readonly name: string;
  readonly vendorId: number;
  readonly deviceIds: readonly number[];
  readonly tuning: Tuning;
}

/**
 * Radeon 780M and its smaller siblings: gfx1103, RDNA3 with 12 compute units at about 2.7 GHz, subgroups of 32 or 64
 * invocations, 64 KiB of shared memory for a workgroup, 2 MiB of second-level cache, DDR5-5600 or LPDDR5 that reads at
 * 77 GB/s. Not measured.
 *
 * int8, which decodes:
 * - To keep 77 GB/s busy at about 1 us of latency 77 kB must be under way: 6.4 kB for each compute unit, which 64
 *   invocations with 6 loads of 16 bytes have by themselves. So depth needs no more than 2, and registers are better spent
 *   on rows.
 * - Each row of a weight reads the activations anew from the cache, 1 byte for each weight against the 0.56 of Q4_0 that
 *   comes from memory. Four rows for an invocation (two of each bank of a gated pair) make that 0.25.
 * - A workgroup is one subgroup of 64: nothing waits for a second one, and 8 workgroups of a compute unit hide what is left.
 *
 * f16, which prefills: 12 compute units multiply matrices at 12 x 512 x 2.7e9 = 16.6 TFLOP/s.
 * - Weights of 0.56 bytes that serve t rows of activations give 2 t / 0.56 operations for each byte, so memory holds up
 *   to 0.27 t TFLOP/s: t = 64 is just enough, t = 128 leaves room. Up to 32 rows memory is the limit in any case.
 * - 32 x 32 results for a subgroup are 16 registers of sums for each of its 64 invocations, and take 64 loads of 16 bytes
 *   from shared memory for 32,768 operations: 16 operations a byte where 4 would do (128 bytes a clock for each unit).
 * - Two steps of 64 + 128 lines of 32 columns are 30 KiB of shared memory: two workgroups fit side by side, one of which
 *   decodes while the other multiplies.
 */
const gfx1103: Tuning = {
  lanes: [],
  tiles: [
    { form: 'int8', tokens: 1, banks: 1, tile: { workgroup: 64, rows: 4, depth: 2 } },
    { form: 'int8', tokens: 1, banks: 2, tile: { workgroup: 64, rows: 2, depth: 2 } },
    {
      form: 'f16',
      tokens: 32,
      banks: 1,
      tile: { rows: 64, tokens: 32, depth: 64, subgroupRows: 32, subgroupTokens: 16 },
    },
    {
      form: 'f16',
      tokens: 32,
      banks: 2,
      tile: { rows: 32, tokens: 32, depth: 64, subgroupRows: 16, subgroupTokens: 16 },
    },
    {
      form: 'f16',
      tokens: 64,
      banks: 1,
      tile: { rows: 64, tokens: 64, depth: 32, subgroupRows: 32, subgroupTokens: 32 },
    },
    {
      form: 'f16',
      tokens: 64,
      banks: 2,
      tile: { rows: 32, tokens: 64, depth: 32, subgroupRows: 16, subgroupTokens: 32 },
    },
    {
      form: 'f16',
      banks: 1,
      tile: { rows: 64, tokens: 128, depth: 32, subgroupRows: 32, subgroupTokens: 32 },
    },
    {
      form: 'f16',
      banks: 2,
      tile: { rows: 32, tokens: 128, depth: 32, subgroupRows: 16, subgroupTokens: 32 },
    },
  ],
};

const amd = 0x1002;

const shipped: readonly Shipped[] = [
  // Phoenix and Hawk Point, each in two sizes.
  {
    name: 'Radeon 780M',
    vendorId: amd,
    deviceIds: [0x15bf, 0x15c8, 0x1900, 0x1901],
    tuning: gfx1103,
  },
];

/** The tunings that are shipped for a device; empty for one that is not known. */
export function shippedTunings({
  vendorId,
  deviceId,
}: Pick<PhysicalDevice, 'vendorId' | 'deviceId'>): Tuning[] {
  return shipped
    .filter((one) => one.vendorId === vendorId && one.deviceIds.includes(deviceId))
    .map(({ tuning }) => tuning);
}

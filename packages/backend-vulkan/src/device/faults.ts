/** The records in which kernels note indices out of range, one for each submission in flight, in host memory. */
import { UnicornError, type ErrorCode } from '@unicorn-exec/tensor';
import type { DeviceHandle, NativeAddon } from '../addon.js';
import { VulkanBuffer } from './buffer.js';
import { chainVariable } from '../dispatch/chain.js';
import { faultCodes } from '../kernel/operand.js';

/** Bytes of a record: code, value, limit, and one word so that records begin at multiples of 16. */
const recordBytes = 16;

/** Records that are allocated together: more submissions than are ever in flight at once, in one page. */
const recordsOfBlock = 256;

type Fault = (value: number, limit: number) => { code: ErrorCode; message: string; fix?: string };

const descriptions: Readonly<Record<number, Fault>> = {
  [faultCodes.tokenId]: (id, rows) => ({
    code: 'usage/token-id',
    message: `Token id ${id} is outside the table of ${rows} rows.`,
  }),
  [faultCodes.slot]: (slot, blocks) => ({
    code: 'usage/slot',
    message: `Slot ${slot} is outside the pool of ${blocks} blocks.`,
  }),
  [faultCodes.stateSlot]: (slot, slots) => ({
    code: 'usage/slot',
    message: `Slot ${slot} is outside the state of ${slots} slots.`,
  }),
  [faultCodes.starts]: (start, rows) => ({
    code: 'usage/starts',
    message: `The starts of sequences must ascend within the ${rows} rows; one is ${start}.`,
  }),
  [faultCodes.blockTable]: (position, columns) => ({
    code: 'usage/block-table',
    message: `Position ${position} is beyond the block table of ${columns} columns.`,
  }),
  [faultCodes.row]: (row, rows) => ({
    code: 'usage/row',
    message: `Row ${row} is outside the ${rows} rows of the axis.`,
  }),
  [faultCodes.logitBias]: (id, vocabulary) => ({
    code: 'usage/logit-bias',
    message: `Logit bias names token ${id}; the vocabulary has ${vocabulary}.`,
  }),
  [faultCodes.history]: (row, rows) => ({
    code: 'usage/history',
    message: `The controls of a row to sample name tokens outside of the history: row ${row} of ${rows}.`,
  }),
  [faultCodes.stalled]: (workgroups) => ({
    code: 'device/stalled',
    message: `A kernel waited in vain for ${workgroups} workgroups of those before it.`,
    fix: `Try again: the device now orders its kernels by barriers. ${chainVariable}=0 does so from the start.`,
  }),
};

/** The error that a record describes; undefined for a record without a fault. */
export function faultError(
  code: number,
  value: number,
  limit: number,
  device: string,
): UnicornError | undefined {
  if (code === 0) return undefined;
  const describe = descriptions[code];
  if (!describe) return new UnicornError('internal/fault', `A kernel noted the unknown fault ${code}.`);
  const { code: name, message, fix } = describe(value, limit);
  return new UnicornError(name, message, {
    fields: { value, limit, ...(name.startsWith('device/') ? { device } : {}) },
    ...(fix === undefined ? {} : { fix }),
  });
}

export interface FaultRecord {
  readonly address: bigint;
  readonly block: VulkanBuffer;
  readonly byteOffset: number;
}

export class FaultRecords {
  readonly #free: FaultRecord[] = [];
  readonly #blocks: VulkanBuffer[] = [];

  constructor(
    private readonly addon: NativeAddon,
    private readonly handle: DeviceHandle,
    /** `info.id` of the device. */
    private readonly id: string,
  ) {}

  /** A record without a fault. */
  take(): FaultRecord {
    const record = this.#free.pop();
    if (record) return record;
    const block = VulkanBuffer.allocate(this.addon, this.handle, recordBytes * recordsOfBlock, 'host');
    this.#blocks.push(block);
    for (let byteOffset = recordBytes; byteOffset < block.byteLength; byteOffset += recordBytes) {
      this.#free.push({ address: block.address + BigInt(byteOffset), block, byteOffset });
    }
    return { address: block.address, block, byteOffset: 0 };
  }

  /** Reads a record when its submission has ended, and takes it back. */
  give(record: FaultRecord): UnicornError | undefined {
    const { host } = record.block;
    // Empty when the device was closed meanwhile.
    if (!host || host.byteLength === 0) return undefined;
    const [code, value, limit] = new Int32Array(host.buffer, host.byteOffset + record.byteOffset, 3);
    host.fill(0, record.byteOffset, record.byteOffset + recordBytes);
    this.#free.push(record);
    return faultError(code!, value!, limit!, this.id);
  }

  dispose(): void {
    for (const block of this.#blocks) block.dispose();
    this.#blocks.length = this.#free.length = 0;
  }
}

/**
 * Who may be promised how much memory. Physical memory is a pool; a device draws from one pool, and the devices that draw
 * from the same one share it. So bytes are promised twice over: out of what the device may have, and out of its pool. Pure
 * arithmetic over numbers that the caller read; it opens nothing.
 */
import { hostPool, type DeviceInfo } from '@unicorn-exec/tensor';

/** Bytes that each pool may still give, by the pool's name. */
export type PoolBytes = ReadonlyMap<string, number>;

/** Where a device puts weights, keys and values, and its intermediate results. */
export interface Purse {
  readonly pool: string;
  /** What this device may still take of it. */
  readonly availableBytes: number;
}

/** What a device is asked to hold of a model. */
export interface DeviceShare {
  readonly purse: Purse;
  readonly weightBytes: number;
  /** Bytes of the KV cache of the device's layers, for a context. */
  kvBytes(context: number): number;
  /** Bytes of what else grows with the context: the history that penalties read. Default: none. */
  historyBytes?(context: number): number;
}

/** A purse or a pool that promises would overdraw. */
export interface Shortage {
  readonly availableBytes: number;
  readonly neededBytes: number;
  /** Bytes of the weights, which share the memory with the KV cache. */
  readonly weightBytes: number;
  readonly kvBytes: number;
}

/**
 * Taken for each device beside weights and KV cache: intermediate results, the process, file cache. What one process took
 * beyond both, rounded up.
 */
export const reservedBytes = 256 * 2 ** 20;

/** A device whose memory is asked for: one that is open, or one that is only described. */
export interface MemoryOwner {
  readonly info: DeviceInfo;
  /**
   * What the device says that it may still give of its own memory; undefined where it computes in the host's memory and
   * has no limit of its own, or is only described.
   */
  readonly availableBytes: number | undefined;
}

/** What the pools of these devices may still give. @param hostBytes of the system's RAM */
export function poolsOf(owners: readonly MemoryOwner[], hostBytes: number): PoolBytes {
  const pools = new Map([[hostPool, hostBytes]]);
  for (const owner of owners) {
    const pool = poolName(owner.info);
    if (pool !== hostPool) pools.set(pool, Math.max(pools.get(pool) ?? 0, ownBytes(owner)));
  }
  return pools;
}

export function purseOf(owner: MemoryOwner, pools: PoolBytes): Purse {
  const pool = poolName(owner.info);
  return { pool, availableBytes: Math.min(ownBytes(owner), pools.get(pool) ?? 0) };
}

/** What a card of its own keeps lies in its own memory; the host's, which it can address too, is for transfers. */
function poolName({ heaps }: DeviceInfo): string {
  return heaps.find(({ pool }) => pool !== hostPool)?.pool ?? hostPool;
}

/** The limit of the device itself: what it says, and the heap that it allocates from. */
function ownBytes({ info, availableBytes = Number.POSITIVE_INFINITY }: MemoryOwner): number {
  // A system without /proc may say that it has 0 bytes, which is not true.
  const own = info.heaps.filter(({ pool, bytes }) => pool === poolName(info) && bytes > 0);
  if (own.length === 0) return availableBytes;
  return Math.min(availableBytes, Math.max(...own.map(({ bytes }) => bytes)));
}

/**
 * What promising these shares at a context would overdraw most; undefined where everything fits.
 *
 * @param shares at most one for each device
 */
export function shortageOf(
  shares: readonly DeviceShare[],
  pools: PoolBytes,
  context: number,
): Shortage | undefined {
  const claims = new Map<string, { availableBytes: number; shares: DeviceShare[] }>();
  const claim = (key: string, availableBytes: number, share: DeviceShare): void => {
    const known = claims.get(key);
    if (known) known.shares.push(share);
    else claims.set(key, { availableBytes, shares: [share] });
  };
  for (const [index, share] of shares.entries()) {
    const { pool, availableBytes } = share.purse;
    claim(`device ${index}`, availableBytes, share);
    claim(`pool ${pool}`, pools.get(pool) ?? 0, share);
  }
  let worst: Shortage | undefined;
  for (const { availableBytes, shares: claimants } of claims.values()) {
    const weightBytes = sum(claimants, (share) => share.weightBytes);
    const kvBytes = sum(claimants, (share) => share.kvBytes(context));
    const historyBytes = sum(claimants, (share) => share.historyBytes?.(context) ?? 0);
    const neededBytes = weightBytes + kvBytes + historyBytes + claimants.length * reservedBytes;
    const excess = neededBytes - availableBytes;
    if (excess <= 0 || (worst && excess <= worst.neededBytes - worst.availableBytes)) continue;
    worst = { availableBytes, neededBytes, weightBytes, kvBytes };
  }
  return worst;
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}

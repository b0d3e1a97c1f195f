/** A device's rates in a line, for people. */
import type { DeviceInfo } from '@unicorn-exec/api';

/** For example `reads 18.3 GB/s, computes 410 GFLOP/s in f32 and 1.2 TFLOP/s in fast, submits in 24 us (measured)`. */
export function ratesText({ bytesPerSecond, flopsPerSecond, submitSeconds, basis }: Rates): string {
  const computing = Object.entries(flopsPerSecond).map(
    ([precision, flops]) => `${flopsText(flops)} in ${precision}`,
  );
  return [
    `reads ${(bytesPerSecond / 1e9).toFixed(1)} GB/s`,
    ...(computing.length > 0 ? [`computes ${computing.join(' and ')}`] : []),
    `submits in ${(submitSeconds * 1e6).toFixed(0)} us (${basis})`,
  ].join(', ');
}

type Rates = NonNullable<DeviceInfo['speed']>;

function flopsText(flopsPerSecond: number): string {
  return flopsPerSecond < 1e12
    ? `${(flopsPerSecond / 1e9).toFixed(0)} GFLOP/s`
    : `${(flopsPerSecond / 1e12).toFixed(1)} TFLOP/s`;
}

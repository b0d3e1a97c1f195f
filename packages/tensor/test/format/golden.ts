/** The block goldens (made by the PyPI package `gguf`), read with as little code as will do. */
import { readFileSync } from 'node:fs';

export interface GoldenTensor {
  shape: number[];
  bytes: Uint8Array;
}

export function readGoldens(name: string): Map<string, GoldenTensor> {
  const file = readFileSync(new URL(`../goldens/${name}`, import.meta.url));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { shape: number[]; data_offsets: [number, number] }
  >;
  return new Map(
    Object.entries(header)
      .filter(([key]) => key !== '__metadata__')
      .map(
        ([
          key,
          {
            shape,
            data_offsets: [begin, end],
          },
        ]) => [
          key,
          { shape, bytes: new Uint8Array(file.subarray(8 + headerBytes + begin, 8 + headerBytes + end)) },
        ],
      ),
  );
}

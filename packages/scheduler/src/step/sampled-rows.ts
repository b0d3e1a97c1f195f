/** What a submission sampled, row by row: ids, and log-probabilities where its program computes them. It reads no device. */
import { sampleNames } from '@unicorn-exec/tensor';
import type { TokenLogProbabilities } from '../request.js';

/** The outputs of sampling that a program has, by name. */
export const sampledOutputs: readonly string[] = [
  sampleNames.sampled,
  sampleNames.chosenLogProbability,
  sampleNames.topIds,
  sampleNames.topLogProbabilities,
];

export class SampledRows {
  readonly ids: Int32Array;

  static readonly none = new SampledRows(0, 0, new Map());

  /** @param outputs the bytes of each output, or more */
  constructor(
    rows: number,
    private readonly top: number,
    private readonly outputs: ReadonlyMap<string, Uint8Array>,
  ) {
    const ids = outputs.get(sampleNames.sampled);
    this.ids = ids ? new Int32Array(ids.buffer, ids.byteOffset, rows) : new Int32Array(0);
  }

  /** The log-probabilities of some rows, where the program computes them. */
  logProbabilities(first: number, count: number): TokenLogProbabilities[] {
    return Array.from({ length: count }, (_, index) => this.#logProbabilitiesOf(first + index));
  }

  #logProbabilitiesOf(row: number): TokenLogProbabilities {
    const { top } = this;
    const [chosen] = this.#floats(sampleNames.chosenLogProbability, row, 1);
    if (top === 0) return { chosen: chosen!, top: [] };
    const values = this.#floats(sampleNames.topLogProbabilities, row, top);
    const { buffer, byteOffset } = this.outputs.get(sampleNames.topIds)!;
    const tokens = new Int32Array(buffer, byteOffset + row * top * Int32Array.BYTES_PER_ELEMENT, top);
    return {
      chosen: chosen!,
      top: Array.from(values, (logProbability, rank) => ({ token: tokens[rank]!, logProbability })),
    };
  }

  #floats(name: string, row: number, columns: number): Float32Array {
    const { buffer, byteOffset } = this.outputs.get(name)!;
    return new Float32Array(buffer, byteOffset + row * columns * Float32Array.BYTES_PER_ELEMENT, columns);
  }
}

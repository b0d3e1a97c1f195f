/**
 * Runs a model's steps on the reference backend with the simplest KV layout there is: each sequence owns a run of
 * blocks as long as its context. A stand-in for the scheduler, for tests only.
 */
import {
  defaultBlockTokens,
  GraphBuilder,
  kvStateShape,
  poolDim,
  referenceBackend,
  stateName,
  tensorBytes,
  type Binding,
  type Device,
  type DeviceBuffer,
  type Executable,
  type StepOptions,
  type WeightSet,
} from '@unicorn-exec/tensor';
import type { Model } from '../../src/index.js';

/** What the runner wants of a model. */
export type RunnerModel = Pick<Model, 'name' | 'kvGroups' | 'weights' | 'buildStep'>;

export interface Part {
  readonly sequence: number;
  /** Position of the first of the ids. */
  readonly position: number;
  readonly ids: readonly number[];
}

/** What a step takes beside ids, where its options say so. */
export interface StepExtras {
  readonly given?: Float32Array;
  /** Rows of the step that `given` replaces. */
  readonly givenRows?: readonly number[];
  /** Of each token of the step. */
  readonly reach?: readonly number[];
}

export type RunnerOptions = Partial<Omit<StepOptions, 'blockTokens'>> & {
  readonly sequences?: number;
  readonly contextLength?: number;
};

export class StepRunner {
  private constructor(
    private readonly model: RunnerModel,
    private readonly device: Device,
    private readonly weights: WeightSet,
    private readonly executable: Executable,
    private readonly states: Readonly<Record<string, DeviceBuffer>>,
    private readonly tableColumns: number,
  ) {}

  static async create(model: RunnerModel, options: RunnerOptions = {}): Promise<StepRunner> {
    const { sequences = 2, contextLength = 96, ...step } = options;
    const device = await referenceBackend.open();
    const weights = await device.load(model.weights());
    const builder = new GraphBuilder(model.name);
    const stepOptions = { kvDType: 'f32', blockTokens: defaultBlockTokens, logits: 'all', ...step } as const;
    model.buildStep(builder, stepOptions);
    const tableColumns = Math.ceil(contextLength / defaultBlockTokens);
    const pool = 1 + sequences * tableColumns;
    const dims: Record<string, number | { max: number }> = {
      tokens: { max: sequences * contextLength },
      sequences: { max: sequences },
      outputs: { max: sequences * contextLength },
      given: { max: sequences * contextLength },
      blocks: tableColumns,
    };
    const states: Record<string, DeviceBuffer> = {};
    for (const group of model.kvGroups) {
      dims[poolDim(group)] = pool;
      const shape = kvStateShape(group, pool, defaultBlockTokens);
      for (const layer of group.layers) {
        states[stateName(layer)] = device.allocate(tensorBytes(stepOptions.kvDType, shape));
      }
    }
    const executable = await device.compile(builder.build(), weights, { dims, precision: 'f32' });
    return new StepRunner(model, device, weights, executable, states, tableColumns);
  }

  /**
   * One step over parts of some sequences.
   *
   * @param rows wanted rows, for a graph of selected logits: the last of each part by default
   */
  async step(
    parts: readonly Part[],
    rows?: readonly (readonly number[])[],
    { given, givenRows = [], reach = [] }: StepExtras = {},
  ): Promise<Record<string, Float32Array>> {
    const { signature } = this.executable;
    const tokens = parts.reduce((sum, { ids }) => sum + ids.length, 0);
    const starts: number[] = [];
    const wanted: number[] = [];
    const rowStarts: number[] = [];
    let row = 0;
    parts.forEach(({ ids }, index) => {
      starts.push(row);
      rowStarts.push(wanted.length);
      for (const offset of rows?.[index] ?? [ids.length - 1]) wanted.push(row + offset);
      row += ids.length;
    });
    const dims: Record<string, number> = {
      tokens,
      sequences: parts.length,
      outputs: wanted.length,
      given: givenRows.length,
      blocks: this.tableColumns,
    };
    const inputs: Record<string, Int32Array | Float32Array> = {
      ids: Int32Array.from(parts.flatMap(({ ids }) => ids)),
      positions: Int32Array.from(parts.flatMap(({ position, ids }) => ids.map((_, i) => position + i))),
      starts: Int32Array.from(starts),
      rows: Int32Array.from(wanted),
      rowStarts: Int32Array.from(rowStarts),
      givenRows: Int32Array.from(givenRows),
      reach: Int32Array.from(reach),
      ...(given ? { given } : {}),
    };
    for (const group of this.model.kvGroups) {
      dims[poolDim(group)] = this.#poolOf(group.layers[0]!);
      const block = (sequence: number, position: number): number =>
        1 + sequence * this.tableColumns + Math.floor(position / defaultBlockTokens);
      inputs[`slots.${group.name}`] = Int32Array.from(
        parts.flatMap(({ sequence, position, ids }) =>
          ids.map(
            (_, i) =>
              block(sequence, position + i) * defaultBlockTokens + ((position + i) % defaultBlockTokens),
          ),
        ),
      );
      inputs[`blocks.${group.name}`] = Int32Array.from(
        parts.flatMap(({ sequence }) =>
          Array.from({ length: this.tableColumns }, (_, column) =>
            block(sequence, column * defaultBlockTokens),
          ),
        ),
      );
    }
    const buffers: Record<string, Binding> = {};
    for (const name of Object.keys(signature.inputs)) buffers[name] = inputs[name]!;
    for (const name of Object.keys(signature.state)) buffers[name] = this.states[name]!;
    const outputs: Record<string, { buffer: DeviceBuffer; bytes: number }> = {};
    for (const [name, { dtype, shape }] of Object.entries(signature.outputs)) {
      const bytes = tensorBytes(
        dtype,
        shape.map((dim) => (typeof dim === 'number' ? dim : dims[dim]!)),
      );
      outputs[name] = { buffer: this.device.allocate(bytes), bytes };
      buffers[name] = outputs[name].buffer;
    }
    const used = Object.fromEntries(signature.dims.map((dim) => [dim, dims[dim]!]));
    await this.executable.submit({ dims: used, buffers }).done;
    const results: Record<string, Float32Array> = {};
    for (const [name, { buffer, bytes }] of Object.entries(outputs)) {
      results[name] = new Float32Array((await this.device.read(buffer, 0, bytes)).buffer);
      buffer.dispose();
    }
    return results;
  }

  /** Takes over the keys and values of another runner of the same model and options. */
  adopt(other: StepRunner): void {
    for (const [name, buffer] of Object.entries(this.states)) buffer.host!.set(other.states[name]!.host!);
  }

  async close(): Promise<void> {
    this.executable.dispose();
    this.weights.dispose();
    await this.device.close();
  }

  #poolOf(layer: number): number {
    const group = this.model.kvGroups.find(({ layers }) => layers.includes(layer))!;
    const one = tensorBytes('f32', kvStateShape(group, 1, defaultBlockTokens));
    return this.states[stateName(layer)]!.byteLength / one;
  }
}

/** Index of the largest value. */
export function best(values: Float32Array): number {
  return values.reduce((top, value, index) => (value > values[top]! ? index : top), 0);
}

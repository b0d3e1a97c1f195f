/** The toy behind a short convolution and linear attention, whose states are not keys and values. */
import type { GraphBuilder, SequenceState, StepInputs, Value, WeightEntry } from '@unicorn-exec/tensor';
import { hidden, randomNumbers, ToyModel } from './toy-model.js';

const width = 3;
const heads = 2;
const dim = hidden / heads;

export class RecurrentToy extends ToyModel {
  readonly sequenceStates: readonly SequenceState[] = [
    { name: 'conv.0', layer: 0, shape: [width - 1, hidden] },
    { name: 'delta.0', layer: 0, shape: [heads, dim, dim] },
  ];

  override get weights(): WeightEntry[] {
    const random = randomNumbers(11);
    const entry = (name: string, rows: number, columns: number): WeightEntry => {
      const data = Float32Array.from({ length: rows * columns }, () => 2 * (random() - 0.5));
      const source = { kind: 'bytes', bytes: new Uint8Array(data.buffer) } as const;
      return { name, dtype: 'f32', shape: [rows, columns], source };
    };
    return [
      ...super.weights,
      entry('conv', hidden, width),
      ...['query', 'key'].map((name) => entry(`delta.${name}`, dim, hidden)),
      entry('delta.value', hidden, hidden),
      ...['decay', 'beta'].map((name) => entry(`delta.${name}`, heads, hidden)),
    ];
  }

  protected override enter(builder: GraphBuilder, inputs: StepInputs, embedded: Value): Value {
    const { starts, stateSlots: slots } = inputs;
    const [convolution, delta] = this.sequenceStates.map((state) => inputs.sequenceState(state)) as [
      Value,
      Value,
    ];
    const weight = builder.weight('conv', { dtype: 'f32', shape: [hidden, width] });
    const x = builder.causalConv({ state: convolution, x: embedded, weight, starts, slots }).y;
    const project = (name: string, rows: number): Value =>
      builder.matmul(x, builder.weight(`delta.${name}`, { dtype: 'f32', shape: [rows, hidden] }));
    const unit = (name: string): Value =>
      builder.scale(
        builder.rmsNorm(builder.reshape(project(name, dim), ['tokens', 1, dim]), undefined, {
          epsilon: 1e-6,
        }),
        dim ** -0.5,
      );
    const { y } = builder.gatedDelta({
      state: delta,
      query: unit('query'),
      key: unit('key'),
      value: builder.reshape(project('value', hidden), ['tokens', heads, dim]),
      decay: builder.scale(project('decay', heads), 0.05),
      beta: builder.scale(project('beta', heads), 0.3),
      starts,
      slots,
    });
    const all = builder.add(embedded, builder.reshape(y, ['tokens', hidden]));
    return builder.rmsNorm(all, undefined, { epsilon: 1e-6 });
  }
}

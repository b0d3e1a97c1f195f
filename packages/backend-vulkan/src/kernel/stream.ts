/** Kernels of `stream.comp`, across the first axis: mean, altUpPredict, altUpCorrect. */
import { optional, read, u32, write, type Dispatch, type Place } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { Operand } from './operand.js';

/** Numbers of the operations in the shader. */
const operations = { mean: 0, altUpPredict: 1, altUpCorrect: 2 } as const;

interface Parts {
  readonly x: Operand;
  readonly out: Operand;
  readonly coefficients?: Place;
  readonly activated?: Place;
  readonly active?: number;
}

function acrossStreams(name: keyof typeof operations, parts: Parts): Dispatch[] {
  const { x, out, coefficients, activated, active = 0 } = parts;
  const [streams, ...rest] = x.shape as [number, ...number[]];
  const count = product(rest);
  if (count === 0) return [];
  return [
    {
      pipeline: { shader: 'stream', constants: [workgroupSize, operations[name]] },
      arguments: [
        read(x.place),
        optional(coefficients),
        optional(activated),
        write(out.place),
        u32(count),
        u32(streams),
        u32(rest.at(-1)!),
        u32(active),
      ],
      groups: groupsFor(count),
      name,
    },
  ];
}

export interface MeanCall {
  readonly x: Operand;
  readonly out: Operand;
}

export const mean = opKernel<MeanCall>({
  call: (op) => ({ x: op.input('x'), out: op.out }),
  dispatch: ({ x, out }) => acrossStreams('mean', { x, out }),
});

export interface AltUpPredictCall {
  readonly streams: Operand;
  readonly coefficients: Operand;
  readonly out: Operand;
}

export const altUpPredict = opKernel<AltUpPredictCall>({
  call: (op) => ({
    streams: op.input('streams'),
    coefficients: op.input('coefficients'),
    out: op.out,
  }),
  dispatch: ({ streams, coefficients, out }) =>
    acrossStreams('altUpPredict', { x: streams, out, coefficients: coefficients.place }),
});

export interface AltUpCorrectCall {
  readonly predictions: Operand;
  readonly activated: Operand;
  readonly coefficients: Operand;
  readonly out: Operand;
  readonly active: number;
}

export const altUpCorrect = opKernel<AltUpCorrectCall>({
  call: (op) => ({
    predictions: op.input('predictions'),
    activated: op.input('activated'),
    coefficients: op.input('coefficients'),
    out: op.out,
    active: op.attribute('active'),
  }),
  dispatch: ({ predictions, activated, coefficients, out, active }) =>
    acrossStreams('altUpCorrect', {
      x: predictions,
      out,
      coefficients: coefficients.place,
      activated: activated.place,
      active,
    }),
});

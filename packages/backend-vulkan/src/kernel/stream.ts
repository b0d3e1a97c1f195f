/** Kernels of `stream.comp`, across the first axis: mean, altUpPredict, altUpCorrect. */
import { optional, read, u32, write, type Dispatch, type Place } from '../dispatch.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { AltUpCorrectCall, AltUpPredictCall, MeanCall, Operand } from './operand.js';

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
      kernel: { shader: 'stream', constants: [workgroupSize, operations[name]] },
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

export function mean({ x, out }: MeanCall): Dispatch[] {
  return acrossStreams('mean', { x, out });
}

export function altUpPredict({ streams, coefficients, out }: AltUpPredictCall): Dispatch[] {
  return acrossStreams('altUpPredict', { x: streams, out, coefficients: coefficients.place });
}

export function altUpCorrect(call: AltUpCorrectCall): Dispatch[] {
  const { predictions, activated, coefficients, out, active } = call;
  return acrossStreams('altUpCorrect', {
    x: predictions,
    out,
    coefficients: coefficients.place,
    activated: activated.place,
    active,
  });
}

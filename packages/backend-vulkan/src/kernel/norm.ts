/** Kernels of `norm.comp`, which need sums over a row: rmsNorm, matchRms, gaussianTopK. One workgroup a row. */
import {
  f32,
  optional,
  read,
  u32,
  write,
  type DeviceTraits,
  type Dispatch,
  type Place,
} from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { foldedGroups, product } from './grid.js';
import type { Operand } from './operand.js';

/** Numbers of the operations in the shader. */
const operations = { rmsNorm: 0, matchRms: 1, gaussianTopK: 2 } as const;

/** Elements that are worth an invocation: fewer invocations finish sooner, more hide the memory's latency. */
export const elementsPerInvocation = 4;

/** A power of two from one subgroup to 512. It depends on the row's length only, as the order of the sums does. */
export function workgroupFor(features: number, traits: DeviceTraits): number {
  const largest = Math.min(512, traits.maxInvocations);
  let size = Math.max(32, traits.subgroupSize);
  while (size < largest && size * elementsPerInvocation < features) size *= 2;
  return size;
}

interface Parts {
  readonly x: Operand;
  readonly other?: Place;
  readonly out: Operand;
  readonly number: number;
  readonly offset?: number;
  readonly addends?: readonly Operand[];
  readonly scale?: number;
}

function norm(name: keyof typeof operations, parts: Parts, traits: DeviceTraits): Dispatch[] {
  const { x, other, out, number, offset = 0, addends = [], scale = 1 } = parts;
  const features = x.shape.at(-1) ?? 1;
  const rows = product(x.shape.slice(0, -1));
  if (rows === 0 || features === 0) return [];
  return [
    {
      pipeline: {
        shader: 'norm',
        constants: [workgroupFor(features, traits), operations[name], addends.length, Number(scale !== 1)],
      },
      arguments: [
        read(x.place),
        optional(other),
        write(out.place),
        optional(addends[0]?.place),
        optional(addends[1]?.place),
        u32(rows),
        u32(features),
        f32(number),
        f32(offset),
        f32(scale),
        u32(Number(other !== undefined)),
      ],
      groups: foldedGroups(rows),
      name: [name, ...addends.map(() => 'add'), ...(scale === 1 ? [] : ['scale'])].join('+'),
    },
  ];
}

/** out = scale * (norm(x) + addends[0] + addends[1]), in this order. */
export interface RmsNormCall {
  readonly x: Operand;
  /** f32 [features]. */
  readonly weight?: Operand;
  /** At most two, of x's shape. */
  readonly addends?: readonly Operand[];
  /** 1 by default. */
  readonly scale?: number;
  /** May be the place of x or of an addend. */
  readonly out: Operand;
  readonly epsilon: number;
  readonly weightOffset: number;
}

/** Steps may have operands `first` and `second` and an attribute `scale` beside the op's own (`fusion/norm-sum.ts`). */
export const rmsNorm = opKernel<RmsNormCall>({
  call(op) {
    const weight = op.optionalInput('weight');
    return {
      x: op.input('x'),
      ...(weight ? { weight } : {}),
      addends: ['first', 'second'].flatMap((name) => op.optionalInput(name) ?? []),
      scale: op.attribute<number | undefined>('scale') ?? 1,
      out: op.out,
      epsilon: op.attribute('epsilon'),
      weightOffset: op.attribute('weightOffset'),
    };
  },
  dispatch(call, traits) {
    const { x, weight, out, epsilon, weightOffset, addends = [], scale = 1 } = call;
    const parts = { x, out, number: epsilon, offset: weightOffset, addends, scale };
    return norm('rmsNorm', weight ? { ...parts, other: weight.place } : parts, traits);
  },
  inPlace: ['x', 'first', 'second'],
  title({ kernel, inputs: { first, second }, attributes }) {
    const sums = [first, second].filter((id) => id !== undefined);
    const scales = (attributes.scale ?? 1) !== 1;
    return [kernel, ...sums.map(() => 'add'), ...(scales ? ['scale'] : [])].join('+');
  },
});

export interface MatchRmsCall {
  readonly x: Operand;
  readonly reference: Operand;
  /** May be x's place. */
  readonly out: Operand;
  readonly floor: number;
}

export const matchRms = opKernel<MatchRmsCall>({
  call: (op) => ({
    x: op.input('x'),
    reference: op.input('reference'),
    out: op.out,
    floor: op.attribute('floor'),
  }),
  dispatch: ({ x, reference, out, floor }, traits) =>
    norm('matchRms', { x, other: reference.place, out, number: floor }, traits),
  inPlace: ['x'],
});

export interface GaussianTopKCall {
  readonly x: Operand;
  readonly out: Operand;
  readonly deviations: number;
}

export const gaussianTopK = opKernel<GaussianTopKCall>({
  call: (op) => ({ x: op.input('x'), out: op.out, deviations: op.attribute('deviations') }),
  dispatch: ({ x, out, deviations }, traits) => norm('gaussianTopK', { x, out, number: deviations }, traits),
  inPlace: ['x'],
});

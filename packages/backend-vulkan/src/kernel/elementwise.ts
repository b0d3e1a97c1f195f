/** Kernels of `elementwise.comp`: activation, glu, softcap, scale, altUpInject. */
import type { ActivationKind } from '@unicorn-exec/tensor';
import { f32, optional, read, u32, write, type Dispatch, type Place } from '../dispatch/dispatch.js';
import { opKernel } from './declaration.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { Operand } from './operand.js';

/** Numbers of `ACTIVATION_*` in `shaders/include/function.glsl`. */
export const activationCodes: Readonly<Record<ActivationKind, number>> = {
  silu: 0,
  geluTanh: 1,
  relu: 2,
  tanh: 3,
  sigmoid: 4,
};

/** Numbers of the operations in the shader. */
const operations = { activation: 0, glu: 1, softcap: 2, scale: 3, inject: 4 } as const;

/** Elements that an invocation of the shader takes. */
const elementsPerInvocation = 4;

interface Parts {
  readonly x: Operand;
  readonly other?: Place;
  readonly out: Operand;
  readonly activation?: ActivationKind;
  readonly number?: number;
  readonly streamElements?: number;
  readonly active?: number;
}

function elementwise(operation: keyof typeof operations, name: string, parts: Parts): Dispatch[] {
  const { x, other, out, activation = 'silu', number = 0, streamElements = 1, active = 0 } = parts;
  const count = product(out.shape);
  if (count === 0) return [];
  return [
    {
      pipeline: {
        shader: 'elementwise',
        constants: [workgroupSize, operations[operation], activationCodes[activation]],
      },
      arguments: [
        read(x.place),
        optional(other),
        write(out.place),
        u32(count),
        f32(number),
        u32(streamElements),
        u32(active),
      ],
      groups: groupsFor(count, elementsPerInvocation),
      name,
    },
  ];
}

export interface ActivationCall {
  readonly x: Operand;
  /** May be x's place. */
  readonly out: Operand;
  readonly activation: ActivationKind;
}

export const activation = opKernel<ActivationCall>({
  call: (op) => ({ x: op.input('x'), out: op.out, activation: op.attribute('kind') }),
  dispatch: ({ x, out, activation: kind }) => elementwise('activation', kind, { x, out, activation: kind }),
  inPlace: ['x'],
});

export interface GluCall {
  readonly gate: Operand;
  readonly up: Operand;
  /** May be the place of gate or up. */
  readonly out: Operand;
  readonly activation: ActivationKind;
}

export const glu = opKernel<GluCall>({
  call: (op) => ({
    gate: op.input('gate'),
    up: op.input('up'),
    out: op.out,
    activation: op.attribute('kind'),
  }),
  dispatch: ({ gate, up, out, activation: kind }) =>
    elementwise('glu', `glu ${kind}`, { x: gate, other: up.place, out, activation: kind }),
  inPlace: ['gate', 'up'],
});

export interface SoftcapCall {
  readonly x: Operand;
  readonly out: Operand;
  readonly cap: number;
}

export const softcap = opKernel<SoftcapCall>({
  call: (op) => ({ x: op.input('x'), out: op.out, cap: op.attribute('cap') }),
  dispatch: ({ x, out, cap }) => elementwise('softcap', 'softcap', { x, out, number: cap }),
  inPlace: ['x'],
});

export interface ScaleCall {
  readonly x: Operand;
  readonly out: Operand;
  readonly factor: number;
}

export const scale = opKernel<ScaleCall>({
  call: (op) => ({ x: op.input('x'), out: op.out, factor: op.attribute('factor') }),
  dispatch: ({ x, out, factor }) => elementwise('scale', 'scale', { x, out, number: factor }),
  inPlace: ['x'],
});

export interface AltUpInjectCall {
  readonly streams: Operand;
  readonly value: Operand;
  /** May be the place of streams. */
  readonly out: Operand;
  readonly active: number;
}

export const altUpInject = opKernel<AltUpInjectCall>({
  call: (op) => ({
    streams: op.input('streams'),
    value: op.input('value'),
    out: op.out,
    active: op.attribute('active'),
  }),
  dispatch: ({ streams, value, out, active }) =>
    elementwise('inject', 'altUpInject', {
      x: streams,
      other: value.place,
      out,
      streamElements: product(value.shape),
      active,
    }),
  inPlace: ['streams'],
});

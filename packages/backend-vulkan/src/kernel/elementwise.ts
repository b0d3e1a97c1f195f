/** Kernels of `elementwise.comp`: activation, glu, softcap, scale, altUpInject. */
import type { ActivationKind } from '@unicorn-exec/tensor';
import { f32, optional, read, u32, write, type Dispatch, type Place } from '../dispatch.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { ActivationCall, AltUpInjectCall, GluCall, Operand, ScaleCall, SoftcapCall } from './operand.js';

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

/** What an invocation takes, in the shader. */
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
      kernel: {
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

export function activation({ x, out, activation: kind }: ActivationCall): Dispatch[] {
  return elementwise('activation', kind, { x, out, activation: kind });
}

export function glu({ gate, up, out, activation: kind }: GluCall): Dispatch[] {
  return elementwise('glu', `glu ${kind}`, { x: gate, other: up.place, out, activation: kind });
}

export function softcap({ x, out, cap }: SoftcapCall): Dispatch[] {
  return elementwise('softcap', 'softcap', { x, out, number: cap });
}

export function scale({ x, out, factor }: ScaleCall): Dispatch[] {
  return elementwise('scale', 'scale', { x, out, number: factor });
}

export function altUpInject({ streams, value, out, active }: AltUpInjectCall): Dispatch[] {
  const streamElements = product(value.shape);
  return elementwise('inject', 'altUpInject', {
    x: streams,
    other: value.place,
    out,
    streamElements,
    active,
  });
}

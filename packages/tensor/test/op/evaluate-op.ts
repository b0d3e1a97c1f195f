/** One op by itself on host tensors, for tests against numbers computed by hand or by another program. */
import { findOp, HostTensor, type AttributeValue } from '../../src/index.js';
import { normalizeAttributes, type ConcreteSpec } from '../../src/op/op.js';

export const f32 = HostTensor.f32;
export const i32 = HostTensor.i32;

/** The outputs; an aliased one is the operand itself. */
export function evaluateOp(
  name: string,
  inputs: Readonly<Record<string, HostTensor>>,
  attributes: Record<string, AttributeValue> = {},
): HostTensor[] {
  const op = findOp(name);
  const normalized = normalizeAttributes(op, attributes);
  const outputs = op.outputs(inputs, normalized).map((spec, index) => {
    const alias = op.aliases?.[index];
    return alias === undefined ? HostTensor.zeros(spec.dtype, (spec as ConcreteSpec).shape) : inputs[alias]!;
  });
  op.evaluate({ inputs, attributes: normalized, outputs });
  return outputs;
}

/** The elements of the first output. */
export function valuesOf(
  name: string,
  inputs: Readonly<Record<string, HostTensor>>,
  attributes: Record<string, AttributeValue> = {},
): number[] {
  const [output] = evaluateOp(name, inputs, attributes);
  return [...(output!.dtype === 'i32' ? output!.integers : output!.floats)];
}

/**
 * What an op is: one declaration that answers every question about it (operands, attributes, output shapes, aliasing,
 * cost, meaning), so that no other code branches on its name. The declarations lie beside this file, one noun a file.
 */
import { UnicornError } from '../error.js';
import { isBlockDType, rowBytes } from '../dtype.js';
import { elementCount, formatShape, type Shape } from '../shape.js';
import type { Attributes, AttributeValue, TensorSpec } from '../graph/graph.js';
import type { HostTensor } from '../host-tensor.js';

export interface Operand {
  readonly name: string;
  /** Dtype, shape and meaning, as documentation. */
  readonly about: string;
  readonly optional?: boolean;
}

export interface AttributeDeclaration {
  readonly type: 'number' | 'string' | 'boolean' | 'numbers' | 'dims';
  readonly about: string;
  /** Without a default the attribute is required, unless it is optional. */
  readonly default?: AttributeValue;
  readonly optional?: boolean;
  /** Legal values of a string attribute. */
  readonly values?: readonly string[];
}

/** A tensor spec whose symbolic dims have values. */
export interface ConcreteSpec extends TensorSpec {
  readonly shape: readonly number[];
}

export type OperandSpecs<T extends TensorSpec = TensorSpec> = Readonly<Record<string, T>>;

export interface Evaluation {
  readonly inputs: Readonly<Record<string, HostTensor>>;
  readonly attributes: Attributes;
  /** Allocated by the evaluator; an aliased output is the tensor of its input. */
  readonly outputs: readonly HostTensor[];
}

/** The values of an i32 operand, where the host knows them. */
export interface NamedRows {
  readonly shape: readonly number[];
  readonly integers: Int32Array;
}

/** Which rows of a state, along its leading axis, an execution touches: a function of one i32 operand. */
export interface StateRows {
  readonly operand: string;
  rows(named: NamedRows, state: ConcreteSpec): Iterable<number>;
}

export interface Op {
  readonly name: string;
  readonly about: string;
  /** Declared operands; `'list'` takes any number of operands named `0`, `1`, ... */
  readonly operands: readonly Operand[] | 'list';
  readonly attributes: Readonly<Record<string, AttributeDeclaration>>;
  /** The shape rule. @throws UnicornError `usage/shape` when the operands do not fit together. */
  outputs(inputs: OperandSpecs, attributes: Attributes): TensorSpec[];
  /** Output index to the operand whose storage it is (state written in place). */
  readonly aliases?: Readonly<Record<number, string>>;
  /** Output index to an operand whose bytes it may share when the operand is dense: pure views such as reshape. */
  readonly view?: Readonly<Record<number, string>>;
  /** State operand to the rule that tells which of its rows one execution touches; without one it may touch all. */
  readonly touches?: Readonly<Record<string, StateRows>>;
  /** Floating-point operations, a multiply-add counted as two. */
  flops(inputs: OperandSpecs<ConcreteSpec>, attributes: Attributes): number;
  /** Bytes that must cross memory, when not simply all operands and outputs once. */
  bytes?(inputs: OperandSpecs<ConcreteSpec>, attributes: Attributes): number;
  /** The plain, slow meaning: the oracle of every backend. Sums run in float64, results are stored as declared. */
  evaluate(evaluation: Evaluation): void;
}

export function shapeError(op: string, sentence: string, fields: Record<string, unknown> = {}): UnicornError {
  return new UnicornError('usage/shape', `${op}: ${sentence}`, { fields: { op, ...fields } });
}

/** @throws UnicornError `usage/shape` when the operand has another rank. */
export function expectRank(op: string, operand: string, spec: TensorSpec, rank: number): void {
  if (spec.shape.length !== rank) {
    throw shapeError(op, `"${operand}" must have ${rank} axes, not ${formatShape(spec.shape)}.`, { operand });
  }
}

/** @throws UnicornError `usage/shape` when the operand has another dtype. */
export function expectDType(op: string, operand: string, spec: TensorSpec, dtype: string): void {
  if (spec.dtype !== dtype) {
    throw shapeError(op, `"${operand}" must be ${dtype}, not ${spec.dtype}.`, { operand, dtype: spec.dtype });
  }
}

/** @throws UnicornError `usage/shape` when the operand is packed: its elements cannot be moved one by one. */
export function expectScalar(op: string, operand: string, spec: TensorSpec): void {
  if (isBlockDType(spec.dtype)) {
    throw shapeError(op, `"${operand}" must be of a scalar dtype, not ${spec.dtype}.`, {
      operand,
      dtype: spec.dtype,
    });
  }
}

/** @throws UnicornError `usage/shape` when the two dims differ. */
export function expectDim(
  op: string,
  what: string,
  actual: Shape[number] | undefined,
  wanted: Shape[number] | undefined,
): void {
  if (actual === undefined || actual !== wanted) {
    throw shapeError(op, `${what} must be ${wanted}, not ${actual}.`, { what, actual, wanted });
  }
}

/** Bytes of a concrete spec, blocks included. */
export function specBytes(spec: ConcreteSpec): number {
  const columns = spec.shape.at(-1) ?? 1;
  return elementCount(spec.shape.slice(0, -1)) * rowBytes(spec.dtype, columns);
}

export function specElements(spec: ConcreteSpec): number {
  return elementCount(spec.shape);
}

/**
 * The attributes in declared order with defaults filled in.
 *
 * @throws UnicornError `usage/attribute` for one that is unknown, missing, or of the wrong type.
 */
export function normalizeAttributes(op: Op, given: Record<string, AttributeValue | undefined>): Attributes {
  const fail = (name: string, sentence: string): never => {
    throw new UnicornError('usage/attribute', `${op.name}: attribute "${name}" ${sentence}.`, {
      fields: { op: op.name, attribute: name },
    });
  };
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(op.attributes, name)) fail(name, 'is not declared');
  }
  const result: Record<string, AttributeValue> = {};
  for (const [name, declaration] of Object.entries(op.attributes)) {
    const value = given[name] ?? declaration.default;
    if (value === undefined) {
      if (!declaration.optional) fail(name, 'is missing');
      continue;
    }
    const isList = Array.isArray(value);
    const fits =
      declaration.type === 'numbers'
        ? isList && value.every((entry) => typeof entry === 'number')
        : declaration.type === 'dims'
          ? isList
          : typeof value === declaration.type;
    if (!fits) fail(name, `must be of type ${declaration.type}`);
    if (declaration.values && !declaration.values.includes(value as string)) {
      fail(name, `must be one of ${declaration.values.join(', ')}`);
    }
    result[name] = value;
  }
  return result;
}

/**
 * How each op becomes a row kernel: its operands in the kernel's order, the axis of the rows in each, and its numbers.
 * An op whose result cannot be cut by rows has no axis and runs as one row. Ops with kernels of their own kind
 * (matmul, attention, sample) are not here.
 */
import type { PlannedValue } from '@unicorn-exec/lowering';
import type { ActivationKind, Dim, Node } from '@unicorn-exec/tensor';
import type { RowLink, RowOperand } from './plan.js';

/** Order of `Activation` in kernels.h. */
export const activationOrder: readonly ActivationKind[] = ['silu', 'geluTanh', 'relu', 'tanh', 'sigmoid'];

interface LinkForm {
  /** Operands in the kernel's order; outputs follow. `'list'`: all of them. */
  readonly operands: readonly string[] | 'list';
  /** The axis of the rows in the first output, which all outputs have; undefined: none. */
  rowAxis(out: PlannedValue, node: Node): number | undefined;
  /** The axis of the rows in an operand, given that of the output. */
  operandAxis(operand: string, value: PlannedValue, outAxis: number, out: PlannedValue): number | undefined;
  numbers?(node: Node, input: (operand: string) => PlannedValue | undefined): readonly number[];
}

const firstAxis = (): number => 0;

/** The first symbolic axis, else the first that is not of size one, among the first `count`. */
function widestAxis(out: PlannedValue, count: number): number | undefined {
  const axes = out.shape.slice(0, count);
  const symbolic = axes.findIndex((dim) => typeof dim === 'string');
  if (symbolic >= 0) return symbolic;
  const many = axes.findIndex((dim) => dim !== 1);
  return many >= 0 ? many : undefined;
}

/** The rule of ops that are cut along any axis but the last, over which the kernel reduces. */
const allButLast = (out: PlannedValue): number | undefined => widestAxis(out, out.shape.length - 1);

/** The rule of ops for which a vector is one row, since its elements are not rows. */
const anyRow = allButLast;

const sameAxis = (_operand: string, _value: PlannedValue, outAxis: number): number => outAxis;

/** Axes are aligned at the last; an operand without that axis, or with a 1 there, is the same for all rows. */
function broadcastAxis(
  _operand: string,
  value: PlannedValue,
  outAxis: number,
  out: PlannedValue,
): number | undefined {
  const axis = outAxis - (out.shape.length - value.shape.length);
  return axis >= 0 && value.shape[axis] === out.shape[outAxis] ? axis : undefined;
}

const elementwise = (operands: readonly string[], numbers?: LinkForm['numbers']): LinkForm => ({
  operands,
  rowAxis: anyRow,
  operandAxis: sameAxis,
  ...(numbers ? { numbers } : {}),
});

const kindOf: NonNullable<LinkForm['numbers']> = (node) => [
  activationOrder.indexOf(node.attributes.kind as ActivationKind),
];
const attribute =
  (name: string): NonNullable<LinkForm['numbers']> =>
  (node) => [node.attributes[name] as number];

const binary: LinkForm = { operands: ['a', 'b'], rowAxis: anyRow, operandAxis: broadcastAxis };

/** The streams of AltUp lie on axis 0, tokens on axis 1; every other operand has tokens on axis 0. */
const altUp = (operands: readonly string[], numbers?: LinkForm['numbers']): LinkForm => ({
  operands,
  rowAxis: () => 1,
  operandAxis: (_operand, value) => (value.shape.length === 3 ? 1 : 0),
  ...(numbers ? { numbers } : {}),
});

const forms: Readonly<Record<string, LinkForm>> = {
  embed: {
    operands: ['ids', 'table'],
    rowAxis: firstAxis,
    operandAxis: (operand) => (operand === 'ids' ? 0 : undefined),
    numbers: ({ attributes }) => [attributes.scale as number, attributes.beyond === 'firstRow' ? 1 : 0],
  },
  rmsNorm: {
    operands: ['x', 'weight'],
    rowAxis: allButLast,
    operandAxis: (operand, _value, outAxis) => (operand === 'x' ? outAxis : undefined),
    numbers: ({ attributes }) => [attributes.epsilon as number, attributes.weightOffset as number],
  },
  matchRms: {
    operands: ['x', 'reference'],
    rowAxis: allButLast,
    operandAxis: sameAxis,
    numbers: attribute('floor'),
  },
  gaussianTopK: {
    operands: ['x'],
    rowAxis: allButLast,
    operandAxis: sameAxis,
    numbers: attribute('deviations'),
  },
  activation: elementwise(['x'], kindOf),
  glu: elementwise(['gate', 'up'], kindOf),
  softcap: elementwise(['x'], attribute('cap')),
  scale: elementwise(['x'], attribute('factor')),
  add: binary,
  multiply: binary,
  mean: {
    operands: ['x'],
    rowAxis: anyRow,
    operandAxis: (_operand, _value, outAxis) => outAxis + 1,
  },
  // Cut by columns: a sum over rows is one member's.
  segmentMean: {
    operands: ['x', 'starts'],
    rowAxis: () => 1,
    operandAxis: (operand) => (operand === 'x' ? 1 : undefined),
  },
  accumulateSquares: { operands: ['x'], rowAxis: firstAxis, operandAxis: () => 1 },
  altUpPredict: altUp(['streams', 'coefficients']),
  altUpCorrect: altUp(['predictions', 'activated', 'coefficients'], attribute('active')),
  altUpInject: altUp(['streams', 'value'], attribute('active')),
  slice: {
    operands: ['x'],
    rowAxis: (out, node) => otherAxis(out, node.attributes.axis as number),
    operandAxis: sameAxis,
    numbers: ({ attributes }) => [attributes.axis as number, attributes.start as number],
  },
  concat: {
    operands: 'list',
    rowAxis: (out, node) => otherAxis(out, node.attributes.axis as number),
    operandAxis: sameAxis,
    numbers: attribute('axis'),
  },
  takeRows: {
    operands: ['x', 'rows'],
    rowAxis: (_out, node) => node.attributes.axis as number,
    operandAxis: (operand) => (operand === 'rows' ? 0 : undefined),
    numbers: attribute('axis'),
  },
  putRows: {
    operands: ['x', 'rows', 'at'],
    rowAxis: firstAxis,
    operandAxis: (operand) => (operand === 'x' ? 0 : undefined),
  },
  logProbabilities: {
    operands: ['logits', 'ids'],
    rowAxis: firstAxis,
    operandAxis: sameAxis,
    numbers: attribute('top'),
  },
  reshape: { operands: ['x'], rowAxis: () => undefined, operandAxis: () => undefined },
};

/** An op that works on a state in place: its kernel takes the state, the operands, then what it gives besides. */
interface StateForm {
  /** The other operands in the kernel's order, and the axis of the rows in each. */
  readonly operands: readonly (readonly [operand: string, axis: number | undefined])[];
  /** The operand whose axis is the rows. */
  readonly rows: string;
  /** The axis of the rows in the output that is not the state. */
  readonly outAxis?: number;
}

const whole = undefined;

const stateForms: Readonly<Record<string, StateForm>> = {
  kvWrite: {
    operands: [
      ['key', 0],
      ['value', 0],
      ['slots', 0],
    ],
    rows: 'slots',
  },
  // Cut by channels, and by heads: the tokens of a sequence are one member's.
  causalConv: {
    operands: [
      ['x', 1],
      ['weight', whole],
      ['starts', whole],
      ['slots', whole],
    ],
    rows: 'x',
    outAxis: 1,
  },
  gatedDelta: {
    operands: [
      ['query', whole],
      ['key', whole],
      ['value', 1],
      ['decay', 1],
      ['beta', 1],
      ['starts', whole],
      ['slots', whole],
    ],
    rows: 'value',
    outAxis: 1,
  },
  copySlots: { operands: [['pairs', 0]], rows: 'pairs' },
};

/** An axis to cut along that is neither `axis` nor, unless symbolic, the last: cutting runs of elements would be slower. */
function otherAxis(out: PlannedValue, axis: number): number | undefined {
  const symbolic = out.shape.findIndex((dim, i) => i !== axis && typeof dim === 'string');
  if (symbolic >= 0) return symbolic;
  const many = out.shape.findIndex((dim, i) => i !== axis && i < out.shape.length - 1 && dim !== 1);
  return many >= 0 ? many : undefined;
}

/** Ops whose kernel may write over the named operands: it reads an element before it writes it, and no other later. */
export const inPlaceOperands: Readonly<Record<string, readonly string[]>> = {
  rmsNorm: ['x'],
  matchRms: ['x'],
  gaussianTopK: ['x'],
  rope: ['x'],
  activation: ['x'],
  glu: ['gate', 'up'],
  softcap: ['x'],
  scale: ['x'],
  add: ['a', 'b'],
  multiply: ['a', 'b'],
  altUpInject: ['streams'],
  putRows: ['x'],
};

/** The kernel's name of its operand at an index, for {@link inPlaceOperands}. */
export function operandName(kernel: string, index: number): string | undefined {
  if (kernel === 'rope') return ['x', 'table'][index];
  const operands = forms[kernel]?.operands;
  return operands === 'list' || operands === undefined ? undefined : operands[index];
}

/** Whether the op is a row kernel. */
export function hasRowLink(op: string): boolean {
  return op in forms || op in stateForms || op === 'rope';
}

/** The row kernel of a node, and the dim that its rows are. `table`: of a rope, its sines and cosines. */
export function rowLink(
  node: Node,
  values: readonly PlannedValue[],
  table?: PlannedValue,
): { link: RowLink; dim: Dim } {
  const input = (operand: string): PlannedValue | undefined => {
    const id = node.inputs[operand];
    return id === undefined ? undefined : values[id]!;
  };
  const out = values[node.outputs[0]!]!;
  if (node.op === 'rope') {
    const operands = [
      { value: node.inputs.x!, axis: 0 },
      { value: table!.id, axis: 0 },
      { value: out.id, axis: 0, written: true },
    ];
    const numbers = [node.attributes.layout === 'interleaved' ? 1 : 0];
    return { link: { kernel: 'rope', operands, numbers, node: node.id }, dim: out.shape[0]! };
  }
  const onState = stateForms[node.op];
  if (onState) {
    const operands: RowOperand[] = [{ value: node.inputs.state, axis: whole, written: true }];
    for (const [name, axis] of onState.operands) {
      const value = node.inputs[name];
      operands.push({ value, axis: value === undefined ? undefined : axis });
    }
    if (onState.outAxis !== undefined) {
      operands.push({ value: node.outputs[0], axis: onState.outAxis, written: true });
    }
    const [, axis] = onState.operands.find(([name]) => name === onState.rows)!;
    return {
      link: { kernel: node.op, operands, numbers: [], node: node.id },
      dim: input(onState.rows)!.shape[axis!]!,
    };
  }
  const form = forms[node.op]!;
  const names = form.operands === 'list' ? Object.keys(node.inputs) : form.operands;
  const axis = form.rowAxis(out, node);
  const operands: RowOperand[] = names.map((name) => {
    const value = input(name);
    if (!value) return { value: undefined, axis: undefined };
    return {
      value: value.id,
      axis: axis === undefined ? undefined : form.operandAxis(name, value, axis, out),
    };
  });
  for (const value of node.outputs) operands.push({ value, axis, written: true });
  const numbers = form.numbers?.(node, input) ?? [];
  return {
    link: { kernel: node.op, operands, numbers, node: node.id },
    dim: axis === undefined ? 1 : out.shape[axis]!,
  };
}

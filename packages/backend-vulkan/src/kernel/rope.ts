/** Kernels of `rope.comp`: the table of a step's cosines and sines, and the turning of heads by it. */
import type { Node } from '@unicorn-exec/tensor';
import { f32, read, u32, write } from '../dispatch/dispatch.js';
import { opKernel, type Emitter } from './declaration.js';
import { groupsFor, product, workgroupSize } from './grid.js';
import type { Operand } from './operand.js';

/** Cosines then sines (times magnitude) of f32(position * frequency), each rounded to f32: out [tokens, 2, pairs]. */
export interface RopeTableCall {
  readonly positions: Operand;
  readonly frequencies: Operand;
  readonly out: Operand;
  readonly magnitude: number;
}

/** A kernel without an op of the graph: {@link emitRopeTable} adds its step before those that turn by its table. */
export const ropeTable = opKernel<RopeTableCall>({
  call: (op) => ({
    positions: op.input('positions'),
    frequencies: op.input('frequencies'),
    out: op.out,
    magnitude: op.attribute('magnitude'),
  }),
  dispatch({ positions, frequencies, out, magnitude }) {
    const pairs = product(frequencies.shape);
    const count = product(positions.shape) * pairs;
    if (count === 0) return [];
    return [
      {
        pipeline: { shader: 'rope-table', constants: [workgroupSize] },
        arguments: [
          read(positions.place),
          read(frequencies.place),
          write(out.place),
          u32(count),
          u32(pairs),
          f32(magnitude),
        ],
        groups: groupsFor(count),
        name: 'rope table',
      },
    ];
  },
});

/** The value id of the table of a rope, computed once for all that turn by the same angles. */
export function emitRopeTable({ inputs, attributes }: Node, emitter: Emitter): number {
  const positions = inputs.positions!;
  const frequencies = emitter.numbers(inputs.frequencies!);
  const magnitude = attributes.magnitude as number;
  return emitter.once(`rope table ${positions} ${frequencies} ${magnitude}`, () => {
    const [tokens] = emitter.value(positions).shape;
    const [pairs] = emitter.value(frequencies).shape;
    const out = emitter.add('f32', [tokens!, 2, pairs!]);
    emitter.pushOp({
      kernel: 'ropeTable',
      inputs: { positions, frequencies },
      out,
      attributes: { magnitude },
    });
    return out;
  });
}

export interface RopeCall {
  /** f32 [tokens, heads, headDim]. */
  readonly x: Operand;
  /** What {@link RopeTableCall} wrote. */
  readonly table: Operand;
  /** May be x's place. */
  readonly out: Operand;
  readonly layout: 'half' | 'interleaved';
}

export const rope = opKernel<RopeCall>({
  call: (op) => ({
    x: op.input('x'),
    table: op.input('table'),
    out: op.out,
    layout: op.attribute('layout'),
  }),
  dispatch({ x, table, out, layout }) {
    const [tokens, heads, headDim] = x.shape as [number, number, number];
    const pairs = table.shape.at(-1)!;
    // An invocation for each pair and for each element that passes through.
    const count = tokens * heads * (headDim - pairs);
    if (count === 0) return [];
    return [
      {
        pipeline: { shader: 'rope', constants: [workgroupSize, Number(layout === 'interleaved')] },
        arguments: [
          read(x.place),
          read(table.place),
          write(out.place),
          u32(count),
          u32(heads),
          u32(headDim),
          u32(pairs),
        ],
        groups: groupsFor(count),
        name: 'rope',
      },
    ];
  },
  inPlace: ['x'],
  emit(node, emitter) {
    const { id, inputs, outputs, attributes } = node;
    const x = emitter.numbers(inputs.x!);
    const table = emitRopeTable(node, emitter);
    emitter.pushOp({ kernel: 'rope', node: id, inputs: { x, table }, out: outputs[0]!, attributes });
  },
});

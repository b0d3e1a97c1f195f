/**
 * Builds a {@link Graph}. Each op has one method of its own name; shapes are checked as nodes are added, so a mistake
 * surfaces at the line that makes it.
 */
import { dtypeLayout, type DType } from '../dtype.js';
import { UnicornError } from '../error.js';
import { findOp } from '../op/index.js';
import { normalizeAttributes } from '../op/op.js';
import type { ActivationKind } from '../op/activation.js';
import { elementCount, formatShape, type Dim, type Shape } from '../shape.js';
import type { AttributeValue, Graph, Node, TensorSpec, Value, ValueSource, WeightView } from './graph.js';

export class GraphBuilder {
  readonly #values: Value[] = [];
  readonly #nodes: Node[] = [];
  readonly #outputs = new Map<string, number>();
  readonly #sources = new Map<string, Value>();
  /** The role of each name of the signature: bindings are by name alone, so an input, an output and a state never share one. */
  readonly #roles = new Map<string, 'input' | 'output' | 'state'>();
  /** Versions of a state that an op has changed in place: their content is gone. */
  readonly #overwritten = new Set<number>();

  #scope: string | undefined;

  constructor(readonly name: string) {}

  /** Names the part of the model that the nodes which `build` adds belong to. Scopes nest: `layer.12` and `attention`. */
  scoped<T>(name: string, build: () => T): T {
    const outer = this.#scope;
    this.#scope = outer === undefined ? name : `${outer}.${name}`;
    try {
      return build();
    } finally {
      this.#scope = outer;
    }
  }

  /** The finished graph; the builder may go on afterwards without changing it. */
  build(): Graph {
    return {
      name: this.name,
      values: [...this.#values],
      nodes: [...this.#nodes],
      outputs: Object.fromEntries(this.#outputs),
    };
  }

  /**
   * The same name gives the same value.
   *
   * @throws UnicornError `usage/graph` when it was declared with another spec or the shape is not a list of dims,
   * `unsupported/dtype`
   */
  input(name: string, dtype: DType, shape: Shape): Value {
    return this.#named({ kind: 'input', name }, { dtype, shape });
  }

  /** A buffer that the caller binds and the graph changes in place. Ops return its next version as a value. */
  state(name: string, dtype: DType, shape: Shape): Value {
    return this.#named({ kind: 'state', name }, { dtype, shape });
  }

  /**
   * A weight of the set, whole or in part.
   *
   * @param stored dtype and concrete shape as loaded; leading axes are flattened into rows under a view
   * @param view some rows and columns; a start or count left out means from the first, or all. Shape `[rows, columns]`.
   * @throws UnicornError `usage/weight-view` when it is outside the weight or its columns cut a block
   */
  weight(name: string, stored: TensorSpec, view?: Partial<WeightView>): Value {
    if (!view) return this.#named({ kind: 'weight', name, stored }, stored);
    const shape = stored.shape as readonly number[];
    const storedColumns = shape.at(-1) ?? 1;
    const storedRows = elementCount(shape.slice(0, -1));
    const rowStart = view.rowStart ?? 0;
    const columnStart = view.columnStart ?? 0;
    const full: WeightView = {
      rowStart,
      rows: view.rows ?? storedRows - rowStart,
      columnStart,
      columns: view.columns ?? storedColumns - columnStart,
    };
    const inside =
      rowStart >= 0 &&
      columnStart >= 0 &&
      full.rows > 0 &&
      full.columns > 0 &&
      rowStart + full.rows <= storedRows &&
      columnStart + full.columns <= storedColumns;
    if (!inside) {
      throw new UnicornError(
        'usage/weight-view',
        `The view of "${name}" lies outside its ${formatShape(shape)}.`,
        {
          fields: { name, view: full, stored: [...shape] },
          fix: 'Give rows and columns that the stored weight has.',
        },
      );
    }
    const { blockSize } = dtypeLayout(stored.dtype);
    if (columnStart % blockSize !== 0 || full.columns % blockSize !== 0) {
      throw new UnicornError(
        'usage/weight-view',
        `Columns ${columnStart} + ${full.columns} of "${name}" cut a ${stored.dtype} block of ${blockSize}.`,
        {
          fields: { name, view: full, blockSize },
          fix: `Use multiples of ${blockSize}, or an unquantized file.`,
        },
      );
    }
    return this.#named(
      { kind: 'weight', name, stored, view: full },
      { dtype: stored.dtype, shape: [full.rows, full.columns] },
    );
  }

  constant(data: Float32Array | Int32Array, shape: readonly number[] = [data.length]): Value {
    if (elementCount(shape) !== data.length) {
      throw new UnicornError(
        'usage/graph',
        `A constant of ${data.length} elements cannot be ${formatShape(shape)}.`,
      );
    }
    return this.#value(
      { kind: 'constant', data },
      { dtype: data instanceof Float32Array ? 'f32' : 'i32', shape },
    );
  }

  /** @throws UnicornError `usage/graph` when the name is taken, or the value is an overwritten version of a state. */
  output(name: string, value: Value): void {
    if (this.#outputs.has(name))
      throw new UnicornError('usage/graph', `There are two outputs named "${name}".`);
    this.#claim(name, 'output');
    this.#expectCurrent('output', name, value);
    this.#outputs.set(name, value.id);
  }

  /**
   * Adds a node of any op. Operands left undefined are absent.
   *
   * @throws UnicornError `usage/graph` for an operand that is missing, unknown, or a version of a state that an op has
   * already changed in place; `usage/attribute`; `usage/shape`
   */
  apply(
    opName: string,
    inputs: Record<string, Value | undefined>,
    attributes: Record<string, AttributeValue | undefined> = {},
  ): Value[] {
    const op = findOp(opName);
    const present = Object.entries(inputs).filter(
      (entry): entry is [string, Value] => entry[1] !== undefined,
    );
    const operands = op.operands;
    if (operands !== 'list') {
      for (const operand of operands) {
        if (!operand.optional && !inputs[operand.name]) {
          throw new UnicornError('usage/graph', `${opName}: operand "${operand.name}" is missing.`);
        }
      }
      for (const [name] of present) {
        if (!operands.some((operand) => operand.name === name)) {
          throw new UnicornError('usage/graph', `${opName}: there is no operand "${name}".`);
        }
      }
      const rank = new Map(operands.map((operand, index) => [operand.name, index]));
      present.sort(([a], [b]) => rank.get(a)! - rank.get(b)!);
    }
    for (const [name, value] of present) this.#expectCurrent(opName, name, value);
    const normalized = normalizeAttributes(op, attributes);
    const specs = op.outputs(Object.fromEntries(present), normalized);
    const id = this.#nodes.length;
    const outputs = specs.map((spec, output) => this.#value({ kind: 'node', node: id, output }, spec));
    this.#nodes.push({
      id,
      op: opName,
      inputs: Object.fromEntries(present.map(([name, value]) => [name, value.id])),
      attributes: normalized,
      outputs: outputs.map((value) => value.id),
      ...(this.#scope === undefined ? {} : { scope: this.#scope }),
    });
    for (const operand of Object.values(op.aliases ?? {})) this.#overwritten.add(inputs[operand]!.id);
    return outputs;
  }

  embed(ids: Value, table: Value, attributes: { scale?: number; beyond?: 'error' | 'firstRow' } = {}): Value {
    return this.#one('embed', { ids, table }, attributes);
  }

  rmsNorm(
    x: Value,
    weight: Value | undefined,
    attributes: { epsilon: number; weightOffset?: number },
  ): Value {
    return this.#one('rmsNorm', { x, weight }, attributes);
  }

  matchRms(x: Value, reference: Value, attributes: { floor?: number } = {}): Value {
    return this.#one('matchRms', { x, reference }, attributes);
  }

  matmul(x: Value, weight: Value): Value {
    return this.#one('matmul', { x, weight });
  }

  rope(
    x: Value,
    positions: Value,
    frequencies: Value,
    attributes: { layout?: 'half' | 'interleaved'; magnitude?: number } = {},
  ): Value {
    return this.#one('rope', { x, positions, frequencies }, attributes);
  }

  /** @param value absent where the state stores keys alone */
  kvWrite(state: Value, key: Value, value: Value | undefined, slots: Value): Value {
    return this.#one('kvWrite', { state, key, value, slots });
  }

  attention(
    inputs: {
      query: Value;
      state: Value;
      positions: Value;
      starts: Value;
      blocks: Value;
      reach?: Value | undefined;
    },
    attributes: { scale: number; window?: number | undefined; softcap?: number | undefined },
  ): Value {
    return this.#one('attention', inputs, attributes);
  }

  causalConv(inputs: { state: Value; x: Value; weight: Value; starts: Value; slots: Value }): {
    y: Value;
    state: Value;
  } {
    const [y, state] = this.apply('causalConv', inputs);
    return { y: y!, state: state! };
  }

  gatedDelta(inputs: {
    state: Value;
    query: Value;
    key: Value;
    value: Value;
    decay: Value;
    beta: Value;
    starts: Value;
    slots: Value;
  }): { y: Value; state: Value } {
    const [y, state] = this.apply('gatedDelta', inputs);
    return { y: y!, state: state! };
  }

  /** @returns the state's next version */
  copySlots(state: Value, pairs: Value): Value {
    return this.#one('copySlots', { state, pairs });
  }

  activation(x: Value, kind: ActivationKind): Value {
    return this.#one('activation', { x }, { kind });
  }

  glu(gate: Value, up: Value, kind: ActivationKind): Value {
    return this.#one('glu', { gate, up }, { kind });
  }

  softcap(x: Value, cap: number): Value {
    return this.#one('softcap', { x }, { cap });
  }

  gaussianTopK(x: Value, deviations: number): Value {
    return this.#one('gaussianTopK', { x }, { deviations });
  }

  add(a: Value, b: Value): Value {
    return this.#one('add', { a, b });
  }

  multiply(a: Value, b: Value): Value {
    return this.#one('multiply', { a, b });
  }

  scale(x: Value, factor: number): Value {
    return this.#one('scale', { x }, { factor });
  }

  mean(x: Value): Value {
    return this.#one('mean', { x });
  }

  segmentMean(x: Value, starts: Value): Value {
    return this.#one('segmentMean', { x, starts });
  }

  /** @returns the state's next version */
  accumulateSquares(state: Value, x: Value): Value {
    return this.#one('accumulateSquares', { state, x });
  }

  altUpPredict(streams: Value, coefficients: Value): Value {
    return this.#one('altUpPredict', { streams, coefficients });
  }

  altUpCorrect(predictions: Value, activated: Value, coefficients: Value, active = 0): Value {
    return this.#one('altUpCorrect', { predictions, activated, coefficients }, { active });
  }

  altUpInject(streams: Value, value: Value, active = 0): Value {
    return this.#one('altUpInject', { streams, value }, { active });
  }

  reshape(x: Value, shape: readonly Dim[]): Value {
    return this.#one('reshape', { x }, { shape: shape as readonly string[] });
  }

  slice(x: Value, axis: number, start: number, count: number): Value {
    return this.#one('slice', { x }, { axis, start, count });
  }

  concat(parts: readonly Value[], axis: number): Value {
    return this.#one('concat', Object.fromEntries(parts.map((part, index) => [String(index), part])), {
      axis,
    });
  }

  takeRows(x: Value, rows: Value, axis = 0): Value {
    return this.#one('takeRows', { x, rows }, { axis });
  }

  putRows(x: Value, rows: Value, at: Value): Value {
    return this.#one('putRows', { x, rows, at });
  }

  sample(inputs: {
    logits: Value;
    parameters: Value;
    controls: Value;
    biasIds: Value;
    biasValues: Value;
    history: Value;
    mask?: Value;
  }): { ids: Value; history: Value } {
    const [ids, history] = this.apply('sample', inputs);
    return { ids: ids!, history: history! };
  }

  /** Log-probabilities of a token of each row, and of the `top` best where `top` is not 0. */
  logProbabilities(
    logits: Value,
    ids: Value,
    top = 0,
  ): { chosen: Value; top?: { ids: Value; logProbabilities: Value } } {
    const [chosen, best, values] = this.apply('logProbabilities', { logits, ids }, { top });
    return { chosen: chosen!, ...(top > 0 ? { top: { ids: best!, logProbabilities: values! } } : {}) };
  }

  #one(
    op: string,
    inputs: Record<string, Value | undefined>,
    attributes: Record<string, AttributeValue | undefined> = {},
  ): Value {
    return this.apply(op, inputs, attributes)[0]!;
  }

  #named(source: Extract<ValueSource, { name: string }>, spec: TensorSpec): Value {
    expectSpec(source.name, spec);
    const part = source.kind === 'weight' && source.view ? JSON.stringify(source.view) : '';
    const key = `${source.kind}:${source.name}:${part}`;
    if (source.kind !== 'weight') this.#claim(source.name, source.kind);
    const known = this.#sources.get(key);
    if (!known) {
      const value = this.#value(source, spec);
      this.#sources.set(key, value);
      return value;
    }
    if (known.dtype !== spec.dtype || formatShape(known.shape) !== formatShape(spec.shape)) {
      throw new UnicornError(
        'usage/graph',
        `The ${source.kind} "${source.name}" was declared before with another shape or dtype.`,
      );
    }
    return known;
  }

  #claim(name: string, role: 'input' | 'output' | 'state'): void {
    const known = this.#roles.get(name) ?? role;
    if (known !== role) throw new UnicornError('usage/graph', `"${name}" is both ${known} and ${role}.`);
    this.#roles.set(name, role);
  }

  #expectCurrent(reader: string, operand: string, value: Value): void {
    if (!this.#overwritten.has(value.id)) return;
    throw new UnicornError(
      'usage/graph',
      `${reader}: "${operand}" is a version of a state that was overwritten.`,
      {
        fields: { reader, operand },
        fix: 'Read the value that the last writer returned.',
      },
    );
  }

  #value(source: ValueSource, spec: TensorSpec): Value {
    const value: Value = { id: this.#values.length, source, dtype: spec.dtype, shape: [...spec.shape] };
    this.#values.push(value);
    return value;
  }
}

/** @throws UnicornError `unsupported/dtype`; `usage/graph` for what is not a shape, which plain JavaScript may give */
function expectSpec(name: string, { dtype, shape }: TensorSpec): void {
  dtypeLayout(dtype);
  const isDim = (dim: unknown): boolean =>
    typeof dim === 'string' || (Number.isSafeInteger(dim) && (dim as number) >= 0);
  if (Array.isArray(shape) && shape.every(isDim)) return;
  throw new UnicornError('usage/graph', `The shape of "${String(name)}" is not a list of dims.`, {
    fields: { name: String(name) },
    fix: 'Give an array of whole numbers, or of names that each submission binds a number to.',
  });
}

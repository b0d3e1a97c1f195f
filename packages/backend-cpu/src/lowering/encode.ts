/**
 * Encodes a plan as the words that the addon reads (`native/runtime/program.cpp` and the step files): numbers in a
 * Float64Array, names by index into a table, constants as bytes. The two sides change together.
 */
import { dtypes, type Dim } from '@unicorn-exec/tensor';
import { isStoredMatrix, type PlannedValue, type Post } from '@unicorn-exec/lowering';
import { readValues, writtenValues } from './lower.js';
import type { Plan, Step } from './plan.js';
import { activationOrder } from './row-link.js';

export interface EncodedPlan {
  readonly words: Float64Array;
  readonly names: readonly string[];
  readonly constants: Uint8Array;
}

/** How a weight is read: by rows and groups, as plain f32, or as it is stored. */
type WeightUse = 'matrix' | 'floats' | 'raw';

const absent = -1;

/** Kernels that move elements of any type. */
const movers = new Set(['copy', 'slice', 'concat', 'takeRows', 'putRows']);

class Words {
  readonly #words: number[] = [];
  readonly #names = new Map<string, number>();

  number(...values: readonly number[]): void {
    for (const value of values) this.#words.push(value);
  }

  flag(value: boolean): void {
    this.#words.push(value ? 1 : 0);
  }

  name(text: string): void {
    const index = this.#names.get(text) ?? this.#names.size;
    this.#names.set(text, index);
    this.#words.push(index);
  }

  get words(): Float64Array {
    return Float64Array.from(this.#words);
  }

  get names(): readonly string[] {
    return [...this.#names.keys()];
  }
}

class Encoder {
  readonly #out = new Words();
  /** Native index of each value that a step uses, by value and, for weights, use. */
  readonly #indices = new Map<string, number>();
  readonly #used: { value: PlannedValue; use: WeightUse | undefined }[] = [];
  readonly #constants: Uint8Array[] = [];
  #constantBytes = 0;

  constructor(
    private readonly plan: Plan,
    private readonly weightIndex: (name: string) => number,
    private readonly profile: boolean,
  ) {}

  encode(): EncodedPlan {
    const { plan } = this;
    const out = this.#out;
    out.flag(this.profile);
    out.number(plan.symbols.length, ...plan.symbols.map((symbol) => plan.maximumDims[symbol]!));
    out.number(plan.bindingCount, plan.arenaBytes);
    for (const step of plan.steps) this.#collect(step);
    out.number(this.#used.length);
    for (const { value, use } of this.#used) this.#value(value, use);
    out.number(plan.steps.length);
    for (const step of plan.steps) this.#step(step);
    const constants = new Uint8Array(this.#constantBytes);
    let at = 0;
    for (const bytes of this.#constants) {
      constants.set(bytes, at);
      at += bytes.byteLength;
    }
    return { words: out.words, names: out.names, constants };
  }

  // ---------------------------------------------------------------- values

  /** Assigns indices to the values of a step. */
  #collect(step: Step): void {
    for (const id of [...readValues(step), ...writtenValues(step)]) {
      for (const use of this.#uses(step, id)) this.#index(id, use);
    }
  }

  #index(id: number | undefined, use?: WeightUse): number {
    if (id === undefined) return absent;
    const value = this.plan.values[id]!;
    const read = value.storage.kind === 'weight' ? (use ?? 'floats') : undefined;
    const key = `${id}:${read}`;
    const known = this.#indices.get(key);
    if (known !== undefined) return known;
    const index = this.#used.length;
    this.#indices.set(key, index);
    this.#used.push({ value, use: read });
    return index;
  }

  /** The ways in which a step reads a weight; [undefined] for other values. */
  #uses(step: Step, id: number): (WeightUse | undefined)[] {
    if (this.plan.values[id]!.storage.kind !== 'weight') return [undefined];
    const uses = new Set<WeightUse>();
    if (step.kind === 'rows') {
      for (const link of step.links) {
        link.operands.forEach(({ value }, index) => {
          if (value === id) uses.add(this.#rowUse(link.kernel, index, id));
        });
      }
    } else if (step.kind === 'matmul') {
      for (const { weight, gated, bias } of step.products) {
        if (weight === id || gated?.up === id) uses.add(this.#matrixUse(id));
        if (bias === id) uses.add('floats');
      }
      if (step.norm?.weight === id || step.x === id) uses.add('floats');
    } else {
      uses.add(this.#plainUse(id));
    }
    return [...uses];
  }

  #rowUse(kernel: string, index: number, id: number): WeightUse {
    if (kernel === 'embed' && index === 1) return this.#matrixUse(id);
    if (movers.has(kernel)) return 'raw';
    if (kernel === 'add' || kernel === 'multiply') return 'floats';
    return this.#plainUse(id);
  }

  #matrixUse(id: number): WeightUse {
    return isStoredMatrix(this.plan.values[id]!) ? 'matrix' : 'raw';
  }

  /** Integers are read as they are, everything else as f32. */
  #plainUse(id: number): WeightUse {
    return this.plan.values[id]!.dtype === 'i32' ? 'raw' : 'floats';
  }

  #dim(dim: Dim): number {
    return typeof dim === 'number' ? dim : -this.plan.symbols.indexOf(dim) - 1;
  }

  #value(value: PlannedValue, use: WeightUse | undefined): void {
    const out = this.#out;
    const { storage } = value;
    out.name(storage.kind);
    if (storage.kind === 'binding') out.number(storage.index);
    else if (storage.kind === 'weight') out.number(this.weightIndex(storage.name));
    else out.number(0);
    if (storage.kind === 'constant') {
      // A view of a constant begins inside it; offsets of constants have no symbols.
      const start = value.offset.reduce((sum, { bytes }) => sum + bytes, 0);
      out.number(1, this.#constant(storage.data) + start, 0);
    } else {
      out.number(value.offset.length);
      for (const { bytes, symbols } of value.offset) {
        out.number(bytes, symbols.length, ...symbols.map((symbol) => this.plan.symbols.indexOf(symbol)));
      }
    }
    out.number(dtypes.indexOf(value.dtype), value.shape.length, ...value.shape.map((dim) => this.#dim(dim)));
    if (storage.kind === 'weight') {
      const { rowStart, rows, columnStart, columns } = value.view!;
      out.name(use!);
      out.number(rowStart, rows, columnStart, columns);
    }
  }

  #constant(data: Float32Array | Int32Array): number {
    const start = this.#constantBytes;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    // Every constant begins at a cache line.
    const padded = new Uint8Array(Math.ceil(bytes.byteLength / 64) * 64);
    padded.set(bytes);
    this.#constants.push(padded);
    this.#constantBytes += padded.byteLength;
    return start;
  }

  // ---------------------------------------------------------------- steps

  #step(step: Step): void {
    const out = this.#out;
    out.name(step.kind);
    switch (step.kind) {
      case 'rows':
        out.number(this.#dim(step.dim), step.links.length);
        for (const { kernel, operands, numbers } of step.links) {
          out.name(kernel);
          out.number(operands.length);
          operands.forEach(({ value, axis }, index) => {
            const use = value === undefined ? undefined : this.#rowUse(kernel, index, value);
            out.number(this.#index(value, use), axis ?? absent);
          });
          out.number(numbers.length, ...numbers);
        }
        return;
      case 'matmul':
        out.number(this.#index(step.x, 'floats'));
        out.flag(step.quantized);
        out.flag(step.norm !== undefined);
        if (step.norm) {
          out.number(this.#index(step.norm.weight, 'floats'), step.norm.epsilon, step.norm.weightOffset);
        }
        out.number(step.products.length);
        for (const { weight, gated, out: result, bias, residual, posts } of step.products) {
          out.number(this.#index(weight, this.#matrixUse(weight)));
          out.number(gated ? this.#index(gated.up, this.#matrixUse(gated.up)) : absent);
          out.number(gated ? activationOrder.indexOf(gated.activation) : 0);
          out.number(this.#index(result), this.#index(bias, 'floats'), this.#index(residual));
          out.number(posts.length);
          for (const post of posts) this.#post(post);
        }
        return;
      case 'attention': {
        const operands = [
          step.query,
          step.state,
          step.positions,
          step.starts,
          step.blocks,
          step.reach,
          step.out,
        ];
        out.number(
          ...operands.map((id) => this.#index(id, id === undefined ? undefined : this.#plainUse(id))),
        );
        out.number(step.scale, step.window ?? 0, step.softcap ?? 0);
        return;
      }
      case 'sample':
        for (const id of [...step.operands, step.ids, step.probabilities]) {
          out.number(this.#index(id, id === undefined ? undefined : this.#plainUse(id)));
        }
        return;
    }
  }

  #post(post: Post): void {
    const out = this.#out;
    out.name(post.kind);
    switch (post.kind) {
      case 'softcap':
        out.number(post.cap, absent);
        return;
      case 'scale':
        out.number(post.factor, absent);
        return;
      case 'activation':
        out.number(activationOrder.indexOf(post.activation), absent);
        return;
      case 'glu':
        out.number(activationOrder.indexOf(post.activation), this.#index(post.other));
        return;
    }
  }
}

/** @param weightIndex position of a weight in the loaded set */
export function encodePlan(plan: Plan, weightIndex: (name: string) => number, profile: boolean): EncodedPlan {
  return new Encoder(plan, weightIndex, profile).encode();
}

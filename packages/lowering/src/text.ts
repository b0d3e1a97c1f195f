/** Prints the steps that every backend has, for plans that people read and snapshot tests compare. */
import { formatSpec } from '@unicorn-exec/tensor';
import type {
  ArenaPlace,
  AttentionStep,
  FusedNorm,
  MatmulStep,
  PlannedValue,
  Post,
  Product,
  SampleStep,
} from './plan.js';

export class StepText {
  /** @param quantizedName what products of `quantized` steps are called: `int8` on a CPU */
  constructor(
    private readonly values: readonly PlannedValue[],
    private readonly quantizedName: string,
  ) {}

  /** `%id`, the name of a weight, or `-` for an operand that is absent. */
  value(id: number | undefined): string {
    if (id === undefined) return '-';
    const { storage, view } = this.values[id]!;
    return storage.kind === 'weight' && view ? `"${storage.name}"` : `%${id}`;
  }

  /** `%id dtype[shape]`. */
  spec(id: number): string {
    return `%${id} ${formatSpec(this.values[id]!)}`;
  }

  heading(step: MatmulStep | AttentionStep | SampleStep): string {
    if (step.kind !== 'matmul') return step.kind;
    const { join, norm, x, quantized } = step;
    const joined = join
      ? `(${this.spec(join.out)} = ${this.value(join.residual)} + ${this.#normed(join.norm, this.value(x))})`
      : this.value(x);
    const normed = this.#normed(norm, joined);
    return `${quantized ? this.quantizedName : 'f32'} products of ${normed}`;
  }

  #normed(norm: FusedNorm | undefined, x: string): string {
    return norm ? `rmsNorm(${x}, ${this.value(norm.weight)})` : x;
  }

  lines(step: MatmulStep | AttentionStep | SampleStep): string[] {
    switch (step.kind) {
      case 'matmul':
        return step.products.map((product) => this.#product(product));
      case 'attention': {
        const { query, state, positions, starts, blocks, reach, out, scale, window, softcap } = step;
        const operands = [query, state, positions, starts, blocks, reach].map((id) => this.value(id));
        const limits = `${window === undefined ? '' : `, window ${window}`}${softcap === undefined ? '' : `, softcap ${softcap}`}`;
        return [`${this.spec(out)} = attention(${operands.join(', ')}) {scale ${scale}${limits}}`];
      }
      case 'sample':
        return [`${this.spec(step.ids)} = sample(${step.operands.map((id) => this.value(id)).join(', ')})`];
    }
  }

  place({ offset, bytes, first, last, roots }: ArenaPlace): string {
    return `arena ${offset} + ${bytes}, steps ${first} to ${last}: ${roots.map((id) => `%${id}`).join(', ')}`;
  }

  #post(post: Post): string {
    switch (post.kind) {
      case 'softcap':
        return `softcap ${post.cap}`;
      case 'scale':
        return `scale ${post.factor}`;
      case 'activation':
        return post.activation;
      case 'glu':
        return `${post.activation} times ${this.value(post.other)}`;
    }
  }

  #product({ weight, gated, out, bias, residual, posts }: Product): string {
    const also = [
      ...(gated ? [`${gated.activation} times ${this.value(gated.up)}`] : []),
      ...(bias === undefined ? [] : [`+ ${this.value(bias)}`]),
      ...(residual === undefined ? [] : [`+ ${this.value(residual)}`]),
      ...posts.map((post) => this.#post(post)),
    ];
    return `${this.spec(out)} = ${this.value(weight)}${also.map((text) => `, ${text}`).join('')}`;
  }
}

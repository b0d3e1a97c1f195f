/** A plan as text: one line a step with what it fuses, then the arena. For people and for snapshot tests. */
import { stepName, type Post, type Product } from '@unicorn-exec/lowering';
import { formatSpec } from '@unicorn-exec/tensor';
import type { Plan, RowLink, Step } from './plan.js';

/** The step's name for a profile: the ops in it, `rmsNorm+matmul+glu`. */
export function profileName(step: Step): string {
  if (step.kind !== 'rows') return stepName(step);
  return [...new Set(step.links.map(({ kernel }) => kernel))].join('+');
}

class Printer {
  constructor(private readonly plan: Plan) {}

  value(id: number | undefined): string {
    if (id === undefined) return '-';
    const { storage, view } = this.plan.values[id]!;
    if (storage.kind !== 'weight') return `%${id}`;
    return view ? `"${storage.name}"` : `%${id}`;
  }

  spec(id: number): string {
    return `%${id} ${formatSpec(this.plan.values[id]!)}`;
  }

  link({ kernel, operands, numbers }: RowLink): string {
    const reads = operands.filter(({ written }) => !written).map(({ value }) => this.value(value));
    const writes = operands.filter(({ written }) => written).map(({ value }) => this.spec(value!));
    const constants = numbers.length > 0 ? ` {${numbers.join(', ')}}` : '';
    return `${writes.join(', ')} = ${kernel}(${reads.join(', ')})${constants}`;
  }

  post(post: Post): string {
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

  product({ weight, gated, out, bias, residual, posts }: Product): string {
    const also = [
      ...(gated ? [`${gated.activation} times ${this.value(gated.up)}`] : []),
      ...(bias === undefined ? [] : [`+ ${this.value(bias)}`]),
      ...(residual === undefined ? [] : [`+ ${this.value(residual)}`]),
      ...posts.map((post) => this.post(post)),
    ];
    return `${this.spec(out)} = ${this.value(weight)}${also.map((text) => `, ${text}`).join('')}`;
  }

  lines(step: Step): string[] {
    switch (step.kind) {
      case 'rows':
        return step.links.map((link) => this.link(link));
      case 'matmul':
        return step.products.map((product) => this.product(product));
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

  heading(step: Step): string {
    switch (step.kind) {
      case 'rows':
        return `rows ${step.dim}`;
      case 'matmul': {
        const { norm, x, quantized } = step;
        const normed = norm ? `rmsNorm(${this.value(x)}, ${this.value(norm.weight)})` : this.value(x);
        return `${quantized ? 'int8' : 'f32'} products of ${normed}`;
      }
      case 'attention':
      case 'sample':
        return step.kind;
    }
  }
}

export function printPlan(plan: Plan): string {
  const printer = new Printer(plan);
  const out = [
    `plan "${plan.name}" ${plan.precision}: ${plan.steps.length} steps, arena ${plan.arenaBytes} bytes`,
  ];
  plan.steps.forEach((step, index) => {
    out.push(`  ${index}: ${printer.heading(step)}`);
    for (const line of printer.lines(step)) out.push(`    ${line}`);
  });
  for (const { offset, bytes, first, last, roots } of plan.slots) {
    out.push(
      `  arena ${offset} + ${bytes}, steps ${first} to ${last}: ${roots.map((id) => `%${id}`).join(', ')}`,
    );
  }
  return `${out.join('\n')}\n`;
}

/** A plan as text, for people and for snapshot tests: a line for each step with what it fuses, then the arena. */
import { stepName, StepText } from '@unicorn-exec/lowering';
import type { Plan, RowLink, Step } from './plan.js';

/** The step's name for a profile: the ops in it, `rmsNorm+matmul+glu`. */
export function profileName(step: Step): string {
  if (step.kind !== 'rows') return stepName(step);
  return [...new Set(step.links.map(({ kernel }) => kernel))].join('+');
}

function linkText({ kernel, operands, numbers }: RowLink, text: StepText): string {
  const reads = operands.filter(({ written }) => !written).map(({ value }) => text.value(value));
  const writes = operands.filter(({ written }) => written).map(({ value }) => text.spec(value!));
  const constants = numbers.length > 0 ? ` {${numbers.join(', ')}}` : '';
  return `${writes.join(', ')} = ${kernel}(${reads.join(', ')})${constants}`;
}

export function printPlan(plan: Plan): string {
  const text = new StepText(plan.values, 'int8');
  const out = [
    `plan "${plan.name}" ${plan.precision}: ${plan.steps.length} steps, arena ${plan.arenaBytes} bytes`,
  ];
  plan.steps.forEach((step, index) => {
    const isChain = step.kind === 'rows';
    out.push(`  ${index}: ${isChain ? `rows ${step.dim}` : text.heading(step)}`);
    const lines = isChain ? step.links.map((link) => linkText(link, text)) : text.lines(step);
    for (const line of lines) out.push(`    ${line}`);
  });
  for (const place of plan.places) out.push(`  ${text.place(place)}`);
  return `${out.join('\n')}\n`;
}

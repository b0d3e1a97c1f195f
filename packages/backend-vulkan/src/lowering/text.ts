/** A plan as text: one line a step with what it fuses, then the arena. For people and for snapshot tests. */
import { stepName, StepText } from '@unicorn-exec/lowering';
import type { OpStep, Plan, Step } from './plan.js';

/** The step's name for a profile: the ops in it, `rmsNorm+matmul+glu`. */
export function profileName(step: Step): string {
  return step.kind === 'op' ? step.kernel : stepName(step);
}

function opText({ kernel, inputs, out, attributes }: OpStep, text: StepText): string {
  const operands = Object.values(inputs).map((id) => text.value(id));
  const numbers = Object.entries(attributes).map(([name, value]) => `${name} ${String(value)}`);
  const constants = numbers.length > 0 ? ` {${numbers.join(', ')}}` : '';
  return `${text.spec(out)} = ${kernel}(${operands.join(', ')})${constants}`;
}

export function printPlan(plan: Plan): string {
  const text = new StepText(plan.values, 'fast');
  const out = [
    `plan "${plan.name}" ${plan.precision}: ${plan.steps.length} steps, arena ${plan.arenaBytes} bytes`,
  ];
  plan.steps.forEach((step, index) => {
    if (step.kind === 'op') {
      out.push(`  ${index}: ${opText(step, text)}`);
      return;
    }
    out.push(`  ${index}: ${text.heading(step)}`);
    for (const line of text.lines(step)) out.push(`    ${line}`);
  });
  for (const slot of plan.slots) out.push(`  ${text.slot(slot)}`);
  plan.memory.forEach(({ scratchOffset, scratchBytes }, step) => {
    if (scratchBytes > 0) out.push(`  arena ${scratchOffset} + ${scratchBytes}, scratch of step ${step}`);
  });
  return `${out.join('\n')}\n`;
}

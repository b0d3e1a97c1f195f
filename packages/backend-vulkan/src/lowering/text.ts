/** A plan as text, for people and for snapshot tests: a line for each step with what it fuses, then the arena. */
import { StepText } from '@unicorn-exec/lowering';
import { kernelOf, kernelTable } from '../kernel/kernels.js';
import type { Plan } from './plan.js';

export function printPlan(plan: Plan): string {
  const text = new StepText(plan.values, 'fast');
  const out = [
    `plan "${plan.name}" ${plan.precision}: ${plan.steps.length} steps, arena ${plan.arenaBytes} bytes`,
  ];
  plan.steps.forEach((step, index) => {
    const [heading, ...lines] = kernelOf(step, kernelTable).describe(step, text);
    out.push(`  ${index}: ${heading}`);
    for (const line of lines) out.push(`    ${line}`);
  });
  for (const place of plan.places) out.push(`  ${text.place(place)}`);
  plan.memory.forEach(({ scratchOffset, scratchBytes }, step) => {
    if (scratchBytes > 0) out.push(`  arena ${scratchOffset} + ${scratchBytes}, scratch of step ${step}`);
  });
  return `${out.join('\n')}\n`;
}

/** A plan as text: one line a step with what it fuses, then the arena. For people and for snapshot tests. */
import { stepName, StepText } from '@unicorn-exec/lowering';
import type { HeadsStep, OpStep, Plan, PlannedHeads, Step } from './plan.js';

/** The step's name for a profile: the ops in it, `rmsNorm+matmul+glu`. */
export function profileName(step: Step): string {
  if (step.kind === 'heads') return headsName(step);
  return step.kind === 'op' ? opName(step) : stepName(step);
}

function opName({ kernel, inputs, attributes }: OpStep): string {
  const { first, second } = inputs;
  const sums = kernel === 'rmsNorm' ? [first, second].filter((id) => id !== undefined) : [];
  const scales = kernel === 'rmsNorm' && (attributes.scale ?? 1) !== 1;
  return [kernel, ...sums.map(() => 'add'), ...(scales ? ['scale'] : [])].join('+');
}

function headsName({ query, stored }: HeadsStep): string {
  const parts = [query, stored?.key, stored?.value];
  const names = [
    ...(parts.some((part) => part?.normed) ? ['rmsNorm'] : []),
    ...(parts.some((part) => part?.turned) ? ['rope'] : []),
    ...(stored ? ['kvWrite'] : []),
  ];
  return names.join('+');
}

function headsLines({ query, stored, rope }: HeadsStep, text: StepText): string[] {
  const part = ({ x, normed, weight, turned }: PlannedHeads): string => {
    const own = normed ? `rmsNorm(${text.value(x)}, ${text.value(weight)})` : text.value(x);
    return turned ? `rope(${own}, ${text.value(rope?.table)})` : own;
  };
  return [
    ...(query ? [`${text.spec(query.out)} = ${part(query)}`] : []),
    ...(stored
      ? [
          `${text.spec(stored.out)} = kvWrite(${part(stored.key)}, ${part(stored.value)}, ${text.value(stored.slots)})`,
        ]
      : []),
  ];
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
    const isHeads = step.kind === 'heads';
    out.push(`  ${index}: ${isHeads ? 'heads' : text.heading(step)}`);
    for (const line of isHeads ? headsLines(step, text) : text.lines(step)) out.push(`    ${line}`);
  });
  for (const slot of plan.slots) out.push(`  ${text.slot(slot)}`);
  plan.memory.forEach(({ scratchOffset, scratchBytes }, step) => {
    if (scratchBytes > 0) out.push(`  arena ${scratchOffset} + ${scratchBytes}, scratch of step ${step}`);
  });
  return `${out.join('\n')}\n`;
}

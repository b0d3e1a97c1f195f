/**
 * The texts by which a template can tell one message from another: those that it names where it compares, searches or
 * cuts. Texts that it only writes are not among them.
 */
import type { Template } from '@huggingface/jinja';

export interface NamedTexts {
  /** What a whole string may be compared with: `role == 'user'`. */
  wholes: ReadonlySet<string>;
  /** What may be looked for in one: `'</think>' in content`, `content.split('</think>')`. */
  parts: ReadonlySet<string>;
}

type Node = Record<string, unknown>;

export function namedTexts(program: Template['parsed']): NamedTexts {
  const wholes = new Set<string>();
  const parts = new Set<string>();
  const name = (node: unknown, among: Set<string>) => {
    // A choice of several stands in a list: `role in ['user', 'tool']`.
    const choice = isNode(node) && Array.isArray(node['value']) ? (node['value'] as unknown[]) : [node];
    for (const one of choice) {
      if (isNode(one) && one['type'] === 'StringLiteral') among.add(one['value'] as string);
    }
  };
  // Templates nest without end where they want to: no recursion.
  const pending: unknown[] = [program];
  while (pending.length > 0) {
    const node = pending.pop();
    if (Array.isArray(node)) for (const child of node as unknown[]) pending.push(child);
    else if (node instanceof Map)
      for (const [key, value] of node as Map<unknown, unknown>) pending.push(key, value);
    if (!isNode(node)) continue;
    const operator = (node['operator'] as { value?: unknown } | undefined)?.value;
    if (operator === '==' || operator === '!=') {
      name(node['left'], wholes);
      name(node['right'], wholes);
    } else if (operator === 'in' || operator === 'not in') {
      name(node['left'], parts);
      name(node['right'], wholes);
    } else if (node['type'] === 'CallExpression') {
      for (const argument of node['args'] as unknown[]) name(argument, parts);
    } else if (node['value'] instanceof Map) {
      for (const key of node['value'].keys()) name(key, wholes); // a table: `{'user': 'Human'}[role]`
    } else if (node['type'] === 'Set') {
      name(node['value'], parts);
    }
    for (const child of Object.values(node)) pending.push(child);
  }
  for (const texts of [wholes, parts]) texts.delete('');
  return { wholes, parts };
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Map);
}

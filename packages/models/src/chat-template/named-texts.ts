/**
 * The texts by which a template can tell one message from another: those that it names where it compares, searches or
 * cuts. Texts that it only writes are not among them.
 */
import type { Expression, Template } from './jinja/index.js';

export interface NamedTexts {
  /** What a whole string may be compared with: `role == 'user'`. */
  wholes: ReadonlySet<string>;
  /** What may be looked for in one: `'</think>' in content`, `content.split('</think>')`. */
  parts: ReadonlySet<string>;
}

type Node = Record<string, unknown>;

export function namedTexts(template: Template): NamedTexts {
  const wholes = new Set<string>();
  const parts = new Set<string>();
  const name = (node: Expression | undefined, among: Set<string>) => {
    // A choice of several stands in a list: `role in ['user', 'tool']`.
    const choice = node?.kind === 'list' || node?.kind === 'tuple' ? node.items : [node];
    for (const one of choice) {
      if (one?.kind === 'constant' && typeof one.value === 'string') among.add(one.value);
    }
  };
  // Templates nest without end where they want to: no recursion.
  const pending: unknown[] = [template.body];
  while (pending.length > 0) {
    const value = pending.pop();
    if (typeof value !== 'object' || value === null) continue;
    for (const child of Object.values(value as Node)) pending.push(child);
    const node = value as Expression | { kind: 'set'; value: Expression };
    switch (node.kind) {
      case 'compare': {
        let left = node.first;
        for (const { operator, operand } of node.rest) {
          const isSearch = operator === 'in' || operator === 'not in';
          name(left, isSearch ? parts : wholes);
          name(operand, wholes);
          left = operand;
        }
        break;
      }
      case 'call':
      case 'filter':
        for (const argument of node.args.positional) name(argument, parts);
        for (const argument of node.args.named) name(argument.value, parts);
        break;
      case 'test':
        for (const argument of node.args.positional) name(argument, wholes);
        break;
      case 'dict':
        for (const [key] of node.entries) name(key, wholes); // a table: `{'user': 'Human'}[role]`
        break;
      case 'set':
        name(node.value, parts);
        break;
      default:
        break;
    }
  }
  for (const texts of [wholes, parts]) texts.delete('');
  return { wholes, parts };
}

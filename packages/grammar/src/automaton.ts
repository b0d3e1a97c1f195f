/**
 * A grammar as one automaton over bytes: states with edges that read a byte, edges that read nothing, and edges that call a
 * rule and return behind it (a recursive transition network: Woods, "Transition network grammars", 1970).
 */
import { UnicornError } from '@unicorn-exec/tensor';
import type { Expression, Grammar } from './expression.js';

export interface Automaton {
  /** The state that the root begins in. */
  readonly start: number;
  /** Of each state: bytes that it reads, flat `[first, last, target, ...]`. */
  readonly reads: readonly (readonly number[])[];
  /** Of each state: where it goes without reading. */
  readonly jumps: readonly (readonly number[])[];
  /** Of each state: `[start of the called rule, state to return to, ...]`. */
  readonly calls: readonly (readonly number[])[];
  /** Of each state: whether a rule ends there. */
  readonly ends: readonly boolean[];
}

/** A schema of a thousand properties has some 100,000; each takes about 100 bytes. */
const mostStates = 1_000_000;

/** Expressions nest as deep as parsers let them; the builder calls itself. */
const deepest = 2000;

interface MutableAutomaton extends Automaton {
  readonly reads: number[][];
  readonly jumps: number[][];
  readonly calls: number[][];
}

class Builder {
  readonly reads: number[][] = [];
  readonly jumps: number[][] = [];
  readonly calls: number[][] = [];
  readonly ends: boolean[] = [];
  readonly #starts = new Map<string, number>();
  readonly #waiting: string[] = [];

  constructor(private readonly grammar: Grammar) {}

  state(): number {
    if (this.ends.length >= mostStates) {
      throw new UnicornError('resource/grammar', `The grammar needs more than ${mostStates} states.`, {
        fields: { mostStates },
        fix: 'Lower the counts of its repetitions.',
      });
    }
    this.reads.push([]);
    this.jumps.push([]);
    this.calls.push([]);
    return this.ends.push(false) - 1;
  }

  /** Where a rule begins. It is built once, later. */
  start(name: string): number {
    const known = this.#starts.get(name);
    if (known !== undefined) return known;
    if (!this.grammar.rules.has(name)) {
      throw new UnicornError('usage/grammar', `The grammar has no rule "${name}".`, {
        fields: { rule: name },
        fix: 'Define it, or name another.',
      });
    }
    const start = this.state();
    this.#starts.set(name, start);
    this.#waiting.push(name);
    return start;
  }

  build(): void {
    for (let name = this.#waiting.pop(); name !== undefined; name = this.#waiting.pop()) {
      const end = this.#add(this.grammar.rules.get(name)!, this.start(name), 0);
      this.ends[end] = true;
    }
  }

  /** Adds what leads from a state through an expression. @returns the state behind it */
  #add(expression: Expression, from: number, depth: number): number {
    if (depth > deepest) {
      throw new UnicornError('resource/grammar', `The grammar nests deeper than ${deepest} levels.`, {
        fields: { deepest },
        fix: 'Give parts of it rules of their own.',
      });
    }
    switch (expression.kind) {
      case 'byte': {
        const to = this.state();
        this.reads[from]!.push(expression.first, expression.last, to);
        return to;
      }
      case 'sequence': {
        let at = from;
        for (const item of expression.items) at = this.#add(item, at, depth + 1);
        return at;
      }
      case 'choice': {
        const end = this.state();
        for (const item of expression.items) {
          const begin = this.state();
          this.jumps[from]!.push(begin);
          this.jumps[this.#add(item, begin, depth + 1)]!.push(end);
        }
        return end;
      }
      case 'rule': {
        const to = this.state();
        this.calls[from]!.push(this.start(expression.name), to);
        return to;
      }
      case 'repeat':
        return this.#repeat(expression, from, depth);
    }
  }

  #repeat({ item, min, max }: Extract<Expression, { kind: 'repeat' }>, from: number, depth: number): number {
    let at = from;
    for (let i = 0; i < min; i++) at = this.#add(item, at, depth + 1);
    const end = this.state();
    if (max === undefined) {
      // The loop has a state of its own, since `at` may be entered from elsewhere.
      const loop = this.state();
      this.jumps[at]!.push(loop);
      this.jumps[this.#add(item, loop, depth + 1)]!.push(loop);
      this.jumps[loop]!.push(end);
      return end;
    }
    for (let i = min; i < max; i++) {
      this.jumps[at]!.push(end);
      const begin = this.state();
      this.jumps[at]!.push(begin);
      at = this.#add(item, begin, depth + 1);
    }
    this.jumps[at]!.push(end);
    return end;
  }
}

/**
 * Compiles a grammar.
 *
 * @throws UnicornError `usage/grammar` for a rule that does not exist, or a grammar that matches nothing;
 * `unsupported/grammar` for a rule that may call itself before it has read a byte (left recursion);
 * `resource/grammar` for more than a million states
 */
export function compileAutomaton(grammar: Grammar): Automaton {
  const builder = new Builder(grammar);
  const start = builder.start(grammar.root);
  builder.build();
  const { reads, jumps, calls, ends } = builder;
  const automaton = { start, reads, jumps, calls, ends };
  expectNoLeftRecursion(grammar);
  expectMatch(automaton, grammar.root);
  return automaton;
}

/**
 * Removes every way that leads to no end, so that what has matched so far can always be completed.
 *
 * @throws UnicornError `usage/grammar` when nothing is left
 */
function expectMatch({ start, reads, jumps, calls, ends }: MutableAutomaton, root: string): void {
  /** Of each state: whether the rule that it is in can end from there. */
  const leads = ends.slice();
  const isAlive = (state: number): boolean =>
    jumps[state]!.some((to) => leads[to]) ||
    reads[state]!.some((to, i) => i % 3 === 2 && leads[to]) ||
    calls[state]!.some((to, i) => i % 2 === 1 && leads[to] && leads[calls[state]![i - 1]!]);
  for (let changed = true; changed;) {
    changed = false;
    // Later states are mostly behind earlier ones.
    for (let state = leads.length - 1; state >= 0; state--) {
      if (leads[state] || !isAlive(state)) continue;
      leads[state] = changed = true;
    }
  }
  if (!leads[start]) {
    throw new UnicornError('usage/grammar', 'No text matches the grammar.', {
      fields: { rule: root },
      fix: 'Give every rule a way to end.',
    });
  }
  leads.forEach((_, state) => {
    jumps[state] = jumps[state]!.filter((to) => leads[to]);
    reads[state] = grouped(reads[state]!, 3)
      .filter(([, , to]) => leads[to!])
      .flat();
    calls[state] = grouped(calls[state]!, 2)
      .filter(([begin, to]) => leads[begin!] && leads[to!])
      .flat();
  });
}

function grouped(numbers: readonly number[], size: number): number[][] {
  return Array.from({ length: numbers.length / size }, (_, i) => numbers.slice(size * i, size * (i + 1)));
}

/** A rule that calls itself before it reads would be called for ever. */
function expectNoLeftRecursion(grammar: Grammar): void {
  const nullable = nullableRules(grammar);
  /** Rules that an expression may call first. @returns whether it may read nothing */
  const firstCalls = (expression: Expression, into: Set<string>): boolean => {
    switch (expression.kind) {
      case 'byte':
        return false;
      case 'rule':
        into.add(expression.name);
        return nullable.has(expression.name);
      case 'sequence':
        return expression.items.every((item) => firstCalls(item, into));
      case 'choice':
        return expression.items.map((item) => firstCalls(item, into)).some(Boolean);
      case 'repeat':
        return (
          expression.max === 0 || [firstCalls(expression.item, into), expression.min === 0].some(Boolean)
        );
    }
  };
  const first = new Map<string, Set<string>>();
  for (const [name, expression] of grammar.rules) {
    const calls = new Set<string>();
    firstCalls(expression, calls);
    first.set(name, calls);
  }
  const done = new Set<string>();
  for (const root of grammar.rules.keys()) {
    // Depth first, without recursion: chains of rules may be long.
    const path: { name: string; left: string[] }[] = [];
    const onPath = new Set<string>();
    const enter = (name: string): void => {
      path.push({ name, left: [...first.get(name)!] });
      onPath.add(name);
    };
    if (!done.has(root)) enter(root);
    while (path.length > 0) {
      const { name, left } = path.at(-1)!;
      const next = left.pop();
      if (next === undefined) {
        path.pop();
        onPath.delete(name);
        done.add(name);
      } else if (onPath.has(next)) {
        throw new UnicornError(
          'unsupported/grammar',
          `The rule "${next}" may call itself before it has read anything (left recursion).`,
          {
            fields: { rule: next },
            fix: 'Write it as a repetition: items of a list as `item (separator item)*`.',
          },
        );
      } else if (!done.has(next) && first.has(next)) enter(next);
    }
  }
}

/** Names of the rules that match the empty text. */
function nullableRules(grammar: Grammar): ReadonlySet<string> {
  const nullable = new Set<string>();
  const isNullable = (expression: Expression): boolean => {
    switch (expression.kind) {
      case 'byte':
        return false;
      case 'rule':
        return nullable.has(expression.name);
      case 'sequence':
        return expression.items.every(isNullable);
      case 'choice':
        return expression.items.some(isNullable);
      case 'repeat':
        return expression.min === 0 || isNullable(expression.item);
    }
  };
  for (let before = -1; before !== nullable.size;) {
    before = nullable.size;
    for (const [name, expression] of grammar.rules) if (isNullable(expression)) nullable.add(name);
  }
  return nullable;
}

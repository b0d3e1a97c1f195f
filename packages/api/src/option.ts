/**
 * Checks of what plain JavaScript callers hand over: one table of rules for each call. A rule is about the kind of a value;
 * whether a number is in its range is for whoever uses it to say. Written by hand, since a schema library would cost the
 * first answer more than the model's headers do.
 */
import { UnicornError } from '@unicorn-exec/tensor';
import { nearestName } from './nearest-name.js';

/** What an option, or an argument, may be. */
export interface Rule {
  /** Ends the sentence "It must be ...". */
  readonly expected: string;
  accepts(value: unknown): boolean;
  /** True where it must be given. */
  readonly required?: boolean;
  /** The values of an option that has only a few. */
  readonly choices?: readonly string[];
  /** The rules of an object's own options. */
  readonly options?: Readonly<Record<string, Rule>>;
}

type KeysOf<T> = T extends unknown ? keyof T & string : never;

/** A rule for each option of `T`, of whichever kind where `T` is a union: an option without a rule does not compile. */
export type OptionTable<T> = Readonly<Record<KeysOf<T>, Rule>>;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isNumberList = (value: unknown): boolean =>
  Array.isArray(value) ? value.every((one) => typeof one === 'number') : ArrayBuffer.isView(value);

export const text: Rule = { expected: 'a string', accepts: (value) => typeof value === 'string' };

export const number: Rule = { expected: 'a number', accepts: (value) => typeof value === 'number' };

export const integer: Rule = {
  expected: 'a whole number',
  accepts: (value) => typeof value === 'bigint' || typeof value === 'number',
};

export const flag: Rule = { expected: 'true or false', accepts: (value) => typeof value === 'boolean' };

export const callback: Rule = { expected: 'a function', accepts: (value) => typeof value === 'function' };

export const list: Rule = { expected: 'an array', accepts: Array.isArray };

export const record: Rule = { expected: 'an object', accepts: isRecord };

export const tokenIds: Rule = { expected: 'an array of token ids', accepts: isNumberList };

export const listOf = (rule: Rule): Rule => ({
  expected: `an array, each entry ${rule.expected}`,
  accepts: (value) => Array.isArray(value) && value.every((one) => rule.accepts(one)),
});

export const abortSignal: Rule = {
  expected: 'an AbortSignal',
  accepts: (value) => value instanceof AbortSignal,
};

/** A whole number that nobody else checks. */
export const countFrom = (least: number): Rule => ({
  expected: `a whole number from ${least}`,
  accepts: (value) => Number.isSafeInteger(value) && (value as number) >= least,
});

export const choice = (...choices: readonly string[]): Rule => ({
  expected: `one of ${choices.map((one) => JSON.stringify(one)).join(', ')}`,
  accepts: (value) => (choices as readonly unknown[]).includes(value),
  choices,
});

/** An object with options of its own. */
export const optionsOf = <T>(options: OptionTable<T>): Rule => ({ ...record, options });

export const either = (...rules: readonly Rule[]): Rule => ({
  expected: rules.map(({ expected }) => expected).join(' or '),
  accepts: (value) => rules.some((rule) => rule.accepts(value)),
});

export const required = (rule: Rule): Rule => ({ ...rule, required: true });

/** An `Engine`, also one of another copy of this package. */
export const engineRule: Rule = {
  expected: 'an Engine',
  accepts: (value) =>
    typeof value === 'object' && value !== null && 'generate' in value && 'forward' in value,
};

/** A MatFormer size: of a model's own sizes, which the model checks. */
export const size: Rule = {
  expected: 'the name of a size, a fraction, a list of widths, or {feedForward, skip?}',
  accepts: (value) =>
    typeof value === 'string' ||
    typeof value === 'number' ||
    (isRecord(value) &&
      isNumberList(value.feedForward) &&
      (value.skip === undefined || isNumberList(value.skip))),
};

/**
 * Checks the options of a call; undefined stands for none of them.
 *
 * @param call as its callers know it: `Engine.load`
 * @throws UnicornError `usage/option` for an option that the call does not have, naming the nearest, for one of a wrong
 * type, and for one that is missing
 */
export function checkOptions<T>(call: string, given: T | undefined, table: OptionTable<T>): void {
  if (given !== undefined) checkArgument(call, 'options', given, record);
  checkTable(call, '', given ?? {}, table);
}

/**
 * Checks an argument that is not an object of options.
 *
 * @throws UnicornError `usage/option`
 */
export function checkArgument(call: string, name: string, value: unknown, rule: Rule): void {
  if ((value === undefined && !rule.required) || rule.accepts(value)) return;
  throw wrongValue(`The argument "${name}" of ${call}`, { call, argument: name }, value, rule);
}

function checkTable(
  call: string,
  prefix: string,
  given: Readonly<Record<string, unknown>>,
  table: Readonly<Record<string, Rule>>,
): void {
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(table, name)) continue;
    const names = Object.keys(table);
    const nearest = nearestName(name, names);
    throw new UnicornError('usage/option', `${call} has no option "${prefix}${name}".`, {
      fields: { call, option: prefix + name, options: names.map((one) => prefix + one) },
      fix: `${meant(nearest === undefined ? undefined : prefix + nearest)}The options are ${names.join(', ')}.`,
    });
  }
  for (const [name, rule] of Object.entries(table)) {
    const value = given[name];
    const option = prefix + name;
    if (value === undefined && !rule.required) continue;
    if (!rule.accepts(value))
      throw wrongValue(`The option "${option}" of ${call}`, { call, option }, value, rule);
    if (rule.options) checkTable(call, `${option}.`, value as Record<string, unknown>, rule.options);
  }
}

function wrongValue(
  subject: string,
  fields: Readonly<Record<string, string>>,
  value: unknown,
  { expected, choices }: Rule,
): UnicornError {
  const nearest = choices && typeof value === 'string' ? nearestName(value, choices) : undefined;
  const sentence = value === undefined ? `${subject} is missing.` : `${subject} is ${described(value)}.`;
  return new UnicornError('usage/option', `${sentence} It must be ${expected}.`, {
    fields: choices ? { ...fields, choices } : fields,
    fix: `${meant(nearest)}Give ${expected}.`,
  });
}

const meant = (name: string | undefined): string => (name === undefined ? '' : `Did you mean "${name}"? `);

/** Longer strings are cut: an error is read by people. */
const shownCharacters = 40;

function described(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  switch (typeof value) {
    case 'string':
      return `the string ${JSON.stringify(value.length > shownCharacters ? `${value.slice(0, shownCharacters)}…` : value)}`;
    case 'number':
    case 'bigint':
      return `the number ${value}`;
    case 'object':
      return 'an object';
    case 'boolean':
      return String(value);
    default:
      return `a ${typeof value}`;
  }
}

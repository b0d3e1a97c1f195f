/**
 * The library's interpreter with a meter on what a template makes, so that a hostile one cannot fill the memory. Time is
 * bounded elsewhere (`deadline.ts`); together they bound a render.
 *
 * Every expression that makes a value is charged the value's length; reading a variable or a field is free, since what
 * it yields was paid for or came in with the conversation. One single step can overshoot, by V8's own limit for a string
 * (512 Mi characters) at most, before it is charged and ends the render.
 */
import { Interpreter } from '@huggingface/jinja';

type Evaluate = Interpreter['evaluate'];
type Statement = Parameters<Evaluate>[0];
type Environment = Parameters<Evaluate>[1];
type Value = ReturnType<Evaluate>;

/**
 * Characters and list entries that one render may make. A conversation of a million tokens is 4 Mi characters and a
 * template handles each some ten times (trim, join with its role, join with the rest), so this is three times the most
 * that anybody needs, and half a gigabyte where each character takes two bytes and all are kept.
 */
export const maxMade = 2 ** 27;

/** Thrown when a render has made more than {@link maxMade}. */
export class RenderTooLarge extends Error {
  override readonly name = 'RenderTooLarge';
}

export class MeteredInterpreter extends Interpreter {
  #made = 0;

  override evaluate(statement: Statement, environment: Environment): Value {
    const value = super.evaluate(statement, environment);
    if (statement !== undefined && makes(statement)) this.#charge(lengthOf(value));
    return value;
  }

  #charge(made: number): void {
    this.#made += made;
    if (this.#made > maxMade)
      throw new RenderTooLarge(`More than ${maxMade} characters and entries were made.`);
  }
}

function makes(statement: NonNullable<Statement>): boolean {
  switch (statement.type) {
    case 'Identifier':
    case 'StringLiteral':
    case 'Comment':
      return false;
    case 'MemberExpression':
      return (statement as unknown as { property: { type: string } }).property.type === 'SliceExpression';
    default:
      return true;
  }
}

function lengthOf({ value }: Value): number {
  if (typeof value === 'string' || Array.isArray(value)) return value.length;
  return value instanceof Map ? value.size : 1;
}

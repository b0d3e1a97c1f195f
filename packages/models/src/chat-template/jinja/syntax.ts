/** The syntax tree of a template: data only, made by the parsers, walked by `evaluator.ts` and `renderer.ts`. */

export type Constant = null | boolean | bigint | number | string;

export interface CallArguments {
  positional: Expression[];
  named: { name: string; value: Expression }[];
  /** `*rest` */
  spread?: Expression;
  /** `**rest` */
  spreadNamed?: Expression;
}

export type BinaryOperator = '+' | '-' | '*' | '/' | '//' | '%' | '**';
export type Comparison = '==' | '!=' | '<' | '<=' | '>' | '>=' | 'in' | 'not in';

export interface Slice {
  kind: 'slice';
  start: Expression | undefined;
  stop: Expression | undefined;
  step: Expression | undefined;
}

export interface FilterCall {
  name: string;
  args: CallArguments;
}

export type Expression =
  | { kind: 'constant'; value: Constant }
  | { kind: 'name'; name: string }
  | { kind: 'list' | 'tuple'; items: Expression[] }
  | { kind: 'dict'; entries: (readonly [Expression, Expression])[] }
  | { kind: 'unary'; operator: '-' | '+' | 'not'; operand: Expression }
  | { kind: 'binary'; operator: BinaryOperator; left: Expression; right: Expression }
  | { kind: 'concat'; parts: Expression[] }
  | { kind: 'logical'; operator: 'and' | 'or'; left: Expression; right: Expression }
  | { kind: 'compare'; first: Expression; rest: { operator: Comparison; operand: Expression }[] }
  | { kind: 'choice'; condition: Expression; then: Expression; otherwise: Expression | undefined }
  | { kind: 'attribute'; object: Expression; name: string }
  | { kind: 'item'; object: Expression; index: Expression | Slice }
  | { kind: 'call'; callee: Expression; args: CallArguments }
  | ({ kind: 'filter'; input: Expression } & FilterCall)
  | ({ kind: 'test'; input: Expression } & FilterCall);

/** Where a value is put. */
export type Target =
  | { kind: 'name'; name: string }
  | { kind: 'tuple'; items: Target[] }
  | { kind: 'field'; namespace: string; name: string };

export interface Signature {
  parameters: { name: string; value: Expression | undefined }[];
  /** Names that the body reads: whether `caller`, `varargs` and `kwargs` are among them decides what a call may give. */
  reads: ReadonlySet<string>;
}

export interface For {
  kind: 'for';
  target: Target;
  iterable: Expression;
  condition: Expression | undefined;
  recursive: boolean;
  body: Statement[];
  otherwise: Statement[];
}

export type Statement =
  | { kind: 'text'; text: string }
  | { kind: 'print'; value: Expression }
  | For
  | { kind: 'if'; branches: { condition: Expression; body: Statement[] }[]; otherwise: Statement[] }
  | { kind: 'set'; target: Target; value: Expression }
  | { kind: 'setBlock'; target: Target; filters: FilterCall[]; body: Statement[] }
  | ({ kind: 'macro'; name: string; body: Statement[] } & Signature)
  | ({ kind: 'callBlock'; call: Expression & { kind: 'call' }; body: Statement[] } & Signature)
  | { kind: 'filterBlock'; filters: FilterCall[]; body: Statement[] }
  | { kind: 'with'; bindings: { target: Target; value: Expression }[]; body: Statement[] }
  /** A body with a scope of its own: `generation`, `block`. */
  | { kind: 'scope'; body: Statement[] }
  | { kind: 'break' }
  | { kind: 'continue' }
  /** A statement that fails when it is reached: templates have nothing to include. */
  | { kind: 'missing'; statement: string };

export interface Template {
  body: Statement[];
  /** Every name that is read somewhere. */
  reads: ReadonlySet<string>;
}

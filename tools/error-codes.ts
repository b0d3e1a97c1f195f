/**
 * Which error codes the sources of the packages hold, read from their syntax: string literals of the form
 * `family/noun`, and nouns handed to helpers that write the family themselves (`format/${noun}`). It runs nothing, and
 * fails on a code that it cannot read rather than leave one out.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

const families = ['usage', 'unsupported', 'resource', 'device', 'format', 'internal'];
const codePattern = new RegExp(`^(?:${families.join('|')})/[a-z0-9]+(?:-[a-z0-9]+)*$`);
const prefixPattern = new RegExp(`^(?:${families.join('|')})/$`);

export interface ErrorCodes {
  /** Codes that errors are made with. */
  readonly given: ReadonlySet<string>;
  /** Codes that sources compare with, or expect of others. */
  readonly expected: ReadonlySet<string>;
}

/** A function that makes an error of one family; the noun is its parameter number `index`. */
interface Helper {
  readonly name: string;
  readonly index: number;
  readonly prefix: string;
}

/**
 * The codes of every package under `packagesDirectory`, of TypeScript sources and of native ones.
 *
 * @throws Error for a noun that is neither a literal nor a parameter: name it where the error is made
 */
export function errorCodes(packagesDirectory: string): ErrorCodes {
  const given = new Set<string>();
  const expected = new Set<string>();
  for (const name of readdirSync(packagesDirectory)) {
    const directory = join(packagesDirectory, name);
    const sources = filesUnder(join(directory, 'src'), /\.ts$/).map((file) =>
      ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true),
    );
    collectLiterals(sources, given, expected);
    collectNouns(sources, given);
    const nativeFiles = ['include', 'native'].flatMap((folder) =>
      filesUnder(join(directory, folder), /\.(?:cpp|h)$/),
    );
    for (const file of nativeFiles)
      for (const [, literal] of readFileSync(file, 'utf8').matchAll(/"([a-z]+\/[a-z0-9-]+)"/g))
        if (codePattern.test(literal!)) given.add(literal!);
  }
  return { given, expected };
}

function filesUnder(directory: string, pattern: RegExp): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((path) => pattern.test(path))
    .map((path) => join(directory, path));
}

function visit(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  node.forEachChild((child) => visit(child, see));
}

function collectLiterals(sources: readonly ts.SourceFile[], given: Set<string>, expected: Set<string>): void {
  for (const source of sources) {
    visit(source, (node) => {
      if (!ts.isStringLiteralLike(node) || !codePattern.test(node.text)) return;
      (isExpectation(node) ? expected : given).add(node.text);
    });
  }
}

/** `error.code === 'usage/...'`, `case 'usage/...'`, and the `rejects: 'usage/...'` of a conformance case. */
function isExpectation({ parent }: ts.Node): boolean {
  return (
    (ts.isBinaryExpression(parent) && /^[!=]==?$/.test(parent.operatorToken.getText())) ||
    ts.isCaseClause(parent) ||
    (ts.isPropertyAssignment(parent) && parent.name.getText() === 'rejects')
  );
}

/** Resolves nouns through helpers, and through helpers of helpers, until no new helper appears. */
function collectNouns(sources: readonly ts.SourceFile[], given: Set<string>): void {
  const helpers: Helper[] = [];
  const queue: Helper[] = [];
  const found = (noun: ts.Expression, prefix: string): void => {
    if (ts.isConditionalExpression(noun)) {
      found(noun.whenTrue, prefix);
      found(noun.whenFalse, prefix);
      return;
    }
    if (ts.isStringLiteralLike(noun)) {
      given.add(prefix + noun.text);
      return;
    }
    const helper = ts.isIdentifier(noun) ? helperOf(noun, prefix) : undefined;
    if (!helper) {
      const { line } = noun.getSourceFile().getLineAndCharacterOfPosition(noun.getStart());
      throw new Error(`${noun.getSourceFile().fileName}:${line + 1}: the noun of this error is no literal.`);
    }
    if (helpers.some(({ name, index }) => name === helper.name && index === helper.index)) return;
    helpers.push(helper);
    queue.push(helper);
  };
  for (const source of sources) {
    visit(source, (node) => {
      if (!ts.isTemplateExpression(node) || !prefixPattern.test(node.head.text)) return;
      // In types the same spelling is another kind of node, so this one makes a code.
      found(node.templateSpans[0]!.expression, node.head.text);
    });
  }
  for (let helper = queue.pop(); helper; helper = queue.pop()) {
    const { name, index, prefix } = helper;
    for (const source of sources) {
      visit(source, (node) => {
        if (!ts.isCallExpression(node) || calleeName(node.expression) !== name) return;
        const noun = node.arguments[index];
        if (noun) found(noun, prefix);
      });
    }
  }
}

function calleeName(callee: ts.Expression): string | undefined {
  if (ts.isIdentifier(callee)) return callee.text;
  return ts.isPropertyAccessExpression(callee) ? callee.name.text : undefined;
}

/** The named function around `use` that has it as a parameter. */
function helperOf(use: ts.Identifier, prefix: string): Helper | undefined {
  for (let node: ts.Node = use; !ts.isSourceFile(node); node = node.parent) {
    if (!ts.isFunctionLike(node)) continue;
    const index = node.parameters.findIndex(({ name }) => name.getText() === use.text);
    const named = node.name ?? (ts.isVariableDeclaration(node.parent) ? node.parent.name : undefined);
    if (index >= 0) return named ? { name: named.getText(), index, prefix } : undefined;
  }
  return undefined;
}

/**
 * Whoever calls a package can name every type that its signatures speak of: it is exported from an entry point of the
 * package that declares it; and from one of `api` what that package's own signatures speak of, whoever declares it, since
 * embedders install that package alone. Walks the sources that declarations are made from, so that nothing needs a build.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const packages = join(root, 'packages');
const inferred = ts.NodeBuilderFlags.NoTruncation | ts.NodeBuilderFlags.UseAliasDefinedOutsideCurrentScope;

/** The sources of a package's entry points: an `exports` of `./dist/x.js` comes from `src/x.ts` or `src/x/index.ts`. */
function entriesOf(name: string): string[] {
  const manifest = JSON.parse(readFileSync(join(packages, name, 'package.json'), 'utf8')) as {
    exports?: Record<string, unknown>;
  };
  const names = Object.values(manifest.exports ?? {}).flatMap(
    (value) => /"\.\/dist\/([^"]+)\.d\.ts"/.exec(JSON.stringify(value))?.[1] ?? [],
  );
  return names.map((each) => {
    const found = [`${each}.ts`, `${each}/index.ts`]
      .map((file) => join(packages, name, 'src', file))
      .find((file) => existsSync(file));
    if (!found) throw new Error(`${name}: no source of the entry point ${each}`);
    return found;
  });
}

function isHidden(node: ts.Node): boolean {
  if (!ts.canHaveModifiers(node)) return false;
  const modifiers = ts.getModifiers(node) ?? [];
  return modifiers.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword);
}

interface Question {
  /** Entry points whose signatures are read. */
  readonly entries: readonly string[];
  /** Entry points whose exports a caller can name. */
  readonly namedBy: readonly string[];
  /** Whether declarations of that file are walked. */
  readonly isWalked: (file: string) => boolean;
  /** Whether types of that file must be named. */
  readonly isOurs: (file: string) => boolean;
}

/** `Type in place (file)` for each type that a signature speaks of and no entry point exports. */
function unnamedTypes(program: ts.Program, { entries, namedBy, isWalked, isOurs }: Question): string[] {
  const checker = program.getTypeChecker();
  const resolved = (symbol: ts.Symbol): ts.Symbol =>
    symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  const exportsOf = (files: readonly string[]): Set<ts.Symbol> => {
    const modules = files.map((file) => checker.getSymbolAtLocation(program.getSourceFile(file)!)!);
    return new Set(modules.flatMap((each) => checker.getExportsOfModule(each)).map(resolved));
  };
  const named = exportsOf(namedBy);
  const missing = new Map<string, string>();

  const meet = (symbol: ts.Symbol | undefined, place: string): void => {
    if (!symbol) return;
    const target = resolved(symbol);
    if (!(target.flags & (ts.SymbolFlags.Type | ts.SymbolFlags.Value)) || named.has(target)) return;
    const [declaration] = target.declarations ?? [];
    const isMember = (target.flags & ts.SymbolFlags.EnumMember) !== 0;
    if (!declaration || isMember || target.flags & ts.SymbolFlags.TypeParameter) return;
    const { fileName } = declaration.getSourceFile();
    if (!isOurs(fileName)) return;
    // A type literal has no name to export; what it speaks of is walked where it stands.
    const { parent } = declaration;
    if (!ts.isSourceFile(parent) && !ts.isVariableDeclarationList(parent)) return;
    if (!missing.has(target.name)) missing.set(target.name, `${place} (${relative(packages, fileName)})`);
  };

  const walk = (node: ts.Node, place: string): void => {
    if (isHidden(node) || ts.isBlock(node)) return;
    if ((ts.isClassElement(node) || ts.isPropertySignature(node)) && node.name) {
      if (ts.isPrivateIdentifier(node.name)) return;
      place = `${place}.${node.name.getText()}`;
    }
    if (ts.isTypeReferenceNode(node)) meet(checker.getSymbolAtLocation(node.typeName), place);
    if (ts.isExpressionWithTypeArguments(node)) meet(checker.getSymbolAtLocation(node.expression), place);
    if (ts.isFunctionLike(node) && !node.type && !ts.isConstructorDeclaration(node)) {
      const signature = checker.getSignatureFromDeclaration(node);
      if (signature) walkInferred(checker.getReturnTypeOfSignature(signature), node, place);
    }
    if ((ts.isPropertyDeclaration(node) || ts.isVariableDeclaration(node)) && !node.type)
      return walkInferred(checker.getTypeAtLocation(node), node, place);
    ts.forEachChild(node, (child) => {
      if ('initializer' in node && node.initializer === child) return;
      walk(child, place);
    });
  };

  /** What the declaration would say in the place of a type that the source leaves out. */
  const walkInferred = (type: ts.Type, at: ts.Node, place: string): void => {
    const visit = (node: ts.Node): void => {
      if (ts.isIdentifier(node)) meet((node as unknown as { symbol?: ts.Symbol }).symbol, place);
      ts.forEachChild(node, visit);
    };
    const written = checker.typeToTypeNode(type, at, inferred);
    if (written) visit(written);
  };

  for (const symbol of exportsOf(entries))
    for (const declaration of symbol.declarations ?? [])
      if (isWalked(declaration.getSourceFile().fileName)) walk(declaration, symbol.name);
  return [...missing].map(([name, place]) => `${name} in ${place}`);
}

describe('every type of a public signature can be named', () => {
  const published = readdirSync(packages).filter((name) => existsSync(join(packages, name, 'src/index.ts')));
  let program: ts.Program;
  beforeAll(() => {
    const { config } = ts.readConfigFile(join(root, 'tsconfig.source.json'), (path) => ts.sys.readFile(path));
    const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
    program = ts.createProgram(published.flatMap(entriesOf), options);
  }, 120_000);

  it.each(published)('of %s', (name) => {
    const isOurs = (file: string): boolean =>
      file.startsWith(`${packages}/`) && !file.includes('node_modules');
    const entries = entriesOf(name);
    const isWalked = (file: string): boolean => file.startsWith(`${packages}/${name}/`);
    const namedBy = name === 'api' ? entries : published.flatMap(entriesOf);
    expect(unnamedTypes(program, { entries, namedBy, isWalked, isOurs })).toEqual([]);
  });

  it('a type is found where it is written, inherited, inferred or an argument, and not where it is private', () => {
    const file = '/source.ts';
    const text = `
      interface Written {} interface Inherited {} interface Inferred {} interface Argument {} interface Hidden {}
      export interface Named extends Inherited { list: readonly Written[]; again: Named }
      const make = (): Inferred => ({});
      export class Maker {
        made = make();
        #secret: Hidden = {};
        private other(): Hidden { return {}; }
        take<Own>(argument: Map<Own, Argument>): void { const inside: Hidden = argument; void inside; }
      }`;
    const options: ts.CompilerOptions = { target: ts.ScriptTarget.ES2022 };
    const host = ts.createCompilerHost(options);
    const read = host.getSourceFile.bind(host);
    host.getSourceFile = (name, ...rest) =>
      name === file ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022, true) : read(name, ...rest);
    const isOurs = (name: string): boolean => name === file;
    const found = unnamedTypes(ts.createProgram([file], options, host), {
      entries: [file],
      namedBy: [file],
      isWalked: isOurs,
      isOurs,
    });
    expect(found.map((each) => each.split(' (')[0]).sort()).toEqual([
      'Argument in Maker.take',
      'Inferred in Maker.made',
      'Inherited in Named',
      'Written in Named.list',
    ]);
  });
});

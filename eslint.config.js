/**
 * The one lint configuration of the workspace. It holds what a formatter and the compiler do not see: who may
 * import whom (`tools/import-table.js`, by the `scope:` tag of each package.json), who may use the network, promises that
 * nobody awaits, and libraries that print. Layout is prettier's business, so no rule here is about layout.
 */
import nx from '@nx/eslint-plugin';
import { createProjectGraphAsync } from '@nx/devkit';
import tseslint from 'typescript-eslint';
import { importTable, networkGlobals, networkModules } from './tools/import-table.js';

// The boundary rule reads Nx's project graph from its cache, where it may be stale or, in a fresh clone, absent: then the
// rule would skip itself with a mere warning. Nx refreshes it before its own tasks; for any other caller this does.
if (!process.env.NX_TASK_TARGET_PROJECT) await createProjectGraphAsync({ exitOnError: false });

/** By the tag of a package the tags of those that its files may import. Nothing else of ours, and no cycle. */
function tagsAllowed(packagesOf) {
  const tag = (name) => `scope:${name}`;
  const entries = Object.entries(importTable).map(([name, row]) => [tag(name), packagesOf(row).map(tag)]);
  return { ...Object.fromEntries(entries), [tag('tools')]: [] };
}

const sourceImports = tagsAllowed(({ imports, dynamic = [] }) => [...imports, ...dynamic]);
const testImports = tagsAllowed(({ imports, dynamic = [], tests = [] }) => [
  ...imports,
  ...dynamic,
  ...tests,
]);

const boundaries = (table) => [
  'error',
  {
    depConstraints: Object.entries(table).map(([sourceTag, onlyDependOnLibsWithTags]) => ({
      sourceTag,
      onlyDependOnLibsWithTags,
    })),
    // A package that its package.json does not name works here, by hoisting, and fails at the consumer's.
    banTransitiveDependencies: true,
    // Static and dynamic imports of one package may stand side by side: types are free, and start-up time is not.
    checkDynamicDependenciesExceptions: ['^@unicorn-exec/'],
  },
];

/** A static import of what may not be installed would end the process there. */
const dynamicOnly = (name, packages) => ({
  files: [`packages/${name}/src/**`],
  rules: {
    '@typescript-eslint/no-restricted-imports': [
      'error',
      {
        patterns: [
          {
            regex: `^@unicorn-exec/(?:${packages.join('|')})$`,
            allowTypeImports: true,
            message: 'Import it by import(), or its types alone (tools/import-table.js).',
          },
        ],
      },
    ],
  },
});

const networkPattern = `/^(?:node:)?(?:${networkModules.join('|')})$/`;
const networkMessage = 'This package may not use the network (tools/import-table.js).';
const withoutNetwork = {
  'no-restricted-syntax': [
    'error',
    ...[
      `:matches(ImportDeclaration, ExportAllDeclaration, ExportNamedDeclaration, ImportExpression)[source.value=${networkPattern}]`,
      `CallExpression[callee.name=/^require/][arguments.0.value=${networkPattern}]`,
      `MemberExpression[object.name='globalThis'][property.name=/^(?:${networkGlobals.join('|')})$/]`,
    ].map((selector) => ({ selector, message: networkMessage })),
  ],
  'no-restricted-globals': ['error', ...networkGlobals.map((name) => ({ name, message: networkMessage }))],
};

/** A backend's measuring tools, which no tarball has, make their weights as its tests do. */
const tests = ['packages/*/test/**', 'packages/backend-*/tools/*.ts', 'tools/test/**'];

export default tseslint.config(
  { ignores: ['**/dist/', '**/build/', '**/coverage/', '**/goldens/', '.nx/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  tseslint.configs.recommended,
  {
    files: ['**/*.{js,mjs,cjs,ts}'],
    plugins: { '@nx': nx },
    rules: {
      '@nx/enforce-module-boundaries': boundaries(sourceImports),
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'none', ignoreRestSiblings: true },
      ],
      eqeqeq: 'error',
      'no-async-promise-executor': 'error',
      'no-unsafe-finally': 'error',
      'no-unsafe-optional-chaining': 'error',
      'use-isnan': 'error',
    },
  },
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/no-unnecessary-type-assertion': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/prefer-promise-reject-errors': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
    },
  },
  {
    // A library has no terminal of its own: what it has to say is a value, an event or an error.
    files: ['packages/*/src/**'],
    ignores: ['packages/cli/**'],
    rules: { 'no-console': 'error' },
  },
  ...Object.entries(importTable).flatMap(([name, { dynamic = [] }]) =>
    dynamic.length === 0 ? [] : [dynamicOnly(name, dynamic)],
  ),
  {
    files: ['packages/**'],
    ignores: Object.entries(importTable).flatMap(([name, { network }]) =>
      network ? [`packages/${name}/**`] : [],
    ),
    rules: withoutNetwork,
  },
  { files: tests, rules: { '@nx/enforce-module-boundaries': boundaries(testImports) } },
  {
    // Configuration and scripts share the helpers of tools/ by relative path; they are not part of any package.
    files: ['**/*.config.{js,ts}', '**/*.mjs'],
    rules: { '@nx/enforce-module-boundaries': 'off' },
  },
);

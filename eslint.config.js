/**
 * The one lint configuration of the workspace. It holds what a formatter and the compiler do not see: the import table
 * of the architecture (module boundaries by the `scope:` tag of each package.json), promises that nobody awaits, and
 * libraries that print. Layout is prettier's business, so no rule here is about layout.
 */
import nx from '@nx/eslint-plugin';
import { createProjectGraphAsync } from '@nx/devkit';
import tseslint from 'typescript-eslint';

// The boundary rule reads Nx's project graph from its cache, where it may be stale or, in a fresh clone, absent: then the
// rule would skip itself with a mere warning. Nx refreshes it before its own tasks; for any other caller this does.
if (!process.env.NX_TASK_TARGET_PROJECT) await createProjectGraphAsync({ exitOnError: false });

/** Who may import whom: the scopes that the sources of a scope may name. Nothing else of ours, and no cycle. */
const imports = {
  'scope:tensor': [],
  'scope:conformance': ['scope:tensor'],
  'scope:checkpoint': ['scope:tensor'],
  'scope:quant': ['scope:tensor', 'scope:checkpoint'],
  'scope:lowering': ['scope:tensor'],
  'scope:backend': ['scope:tensor', 'scope:lowering'],
  'scope:models': ['scope:tensor', 'scope:checkpoint'],
  'scope:scheduler': ['scope:tensor'],
  'scope:model': [],
  'scope:api': [
    'scope:tensor',
    'scope:conformance',
    'scope:checkpoint',
    'scope:quant',
    'scope:backend',
    'scope:models',
    'scope:scheduler',
    'scope:model',
  ],
  'scope:cli': ['scope:api'],
  'scope:tools': [],
};

/** What tests may name beyond that: the conformance suite holds a backend, and tests of models make quantized files. */
const testImports = {
  ...imports,
  'scope:backend': ['scope:tensor', 'scope:lowering', 'scope:conformance'],
  'scope:models': ['scope:tensor', 'scope:checkpoint', 'scope:quant'],
};

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
      '@nx/enforce-module-boundaries': boundaries(imports),
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
  {
    // Accelerators are optional dependencies: a static import of one would end the process where it is not installed.
    files: ['packages/api/src/**'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              regex: '^@unicorn-exec/backend-(?!cpu$)',
              allowTypeImports: true,
              message: 'Import accelerator backends dynamically.',
            },
          ],
        },
      ],
    },
  },
  { files: tests, rules: { '@nx/enforce-module-boundaries': boundaries(testImports) } },
  {
    // Configuration and scripts share the helpers of tools/ by relative path; they are not part of any package.
    files: ['**/*.config.{js,ts}', '**/*.mjs'],
    rules: { '@nx/enforce-module-boundaries': 'off' },
  },
);

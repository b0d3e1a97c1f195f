/**
 * Who may import whom: the one table that is law. Lint forbids every other import (`eslint.config.js`), a test tries
 * every pair of packages against it (`tools/test/module-boundaries.test.ts`), and INTERNALS prints it
 * (`node tools/print-import-table.mjs`).
 *
 * A change to the table is a change to the architecture: say why in the commit.
 */

/**
 * @typedef {object} TableRow
 * @property {string} owns what the package is for, in Markdown
 * @property {readonly string[]} imports packages of ours that its sources may import
 * @property {readonly string[]} [dynamic] packages that its sources may import by `import()` and by `import type` alone:
 *   they may not be installed, or importing them takes time that a start has no use for
 * @property {readonly string[]} [tests] packages that its tests may import besides
 * @property {boolean} [network] whether it may open connections or listen. Default: it may not
 */

/** @type {Readonly<Record<string, TableRow>>} by the name of the folder in `packages/`, each after those that it imports */
export const importTable = {
  tensor: {
    owns: 'meaning: dtypes, block formats, shapes, the graph, each op with its shape rule and slow evaluation, the Backend contract, the model step, errors, and the one way to write a file',
    imports: [],
  },
  lowering: {
    owns: "from a graph to a backend's plan: storage, fusion, order, lifetimes",
    imports: ['tensor'],
  },
  conformance: {
    owns: 'the suite that every backend must pass, also those of others',
    imports: ['tensor'],
  },
  native: {
    owns: 'the kit of every addon: build script, CMake module, headers, loader, failures, jobs',
    imports: ['tensor'],
  },
  'backend-cpu': {
    owns: 'C++ kernels behind the contract',
    imports: ['tensor', 'lowering', 'native'],
    tests: ['conformance'],
  },
  'backend-vulkan': {
    owns: 'compute shaders and recorded plans behind the contract',
    imports: ['tensor', 'lowering', 'native'],
    tests: ['conformance'],
  },
  checkpoint: {
    owns: 'weights on disk: GGUF and safetensors read and written, metadata',
    imports: ['tensor'],
  },
  quant: {
    owns: 'encoders of block formats, and what they cost',
    imports: ['tensor', 'checkpoint'],
  },
  grammar: {
    owns: 'what an answer may look like: JSON schemas, patterns and GBNF as masks over a vocabulary',
    imports: ['tensor'],
  },
  models: {
    owns: 'what a model is: configuration, graph builders, weight names, tokenizer, chat template',
    imports: ['tensor', 'checkpoint'],
    tests: ['quant'],
  },
  scheduler: {
    owns: 'policy and time: steps, KV cache, drafts, placement on devices',
    imports: ['tensor'],
    // Two devices at once are tried with the suite's int8 device, and the split device is held to the suite.
    tests: ['conformance'],
  },
  'model-nano': {
    owns: 'the bundled model, a file',
    imports: [],
  },
  api: {
    owns: 'the Engine: text in, text out; the one place that names concrete backends',
    imports: ['tensor', 'checkpoint', 'models', 'scheduler', 'model-nano'],
    dynamic: ['backend-cpu', 'backend-vulkan', 'quant'],
    // The suite's int8 device, beside a real one.
    tests: ['conformance'],
  },
  cli: {
    owns: 'the `unicorn` command',
    imports: ['api'],
  },
};

/** Node's modules that reach beyond the machine, or listen. */
export const networkModules = ['dgram', 'http', 'http2', 'https', 'net', 'tls'];

/** What does the same without an import. */
export const networkGlobals = ['EventSource', 'WebSocket', 'XMLHttpRequest', 'fetch'];

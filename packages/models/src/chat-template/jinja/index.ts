/** Jinja2 as chat templates use it: an interpreter of our own, metered, without a way to the outside. */
export { NotSupported, Refusal, RenderFailure, SyntaxFailure, WorkExceeded } from './failure.js';
export { Dict } from './value.js';
export { valueFrom } from './input.js';
export { readJson } from './json-reader.js';
export { render } from './renderer.js';
export { templateFrom } from './statement-parser.js';
export type { Expression, Template } from './syntax.js';
export type { Value } from './value.js';
export { Work } from './work.js';

export { ShaderLibrary } from './shader-library.js';

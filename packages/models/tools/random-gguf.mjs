/**
 * Writes a GGUF file of a published model's shapes with random weights: speed and memory depend on shapes, not on values.
 *
 *     node packages/models/tools/random-gguf.mjs SHAPE Q4_0|Q8_0|Q4_K OUT.gguf
 *
 * Without arguments it lists the shapes. Needs built packages (`npm run build`). Any text becomes byte tokens, any answer
 * is noise.
 */
import { stat } from 'node:fs/promises';
import { architectures, ConfigFields, configToGguf } from '../dist/index.js';
import { presets } from './random-gguf/preset.mjs';
import { mixtureNames, writeRandomGguf } from './random-gguf/write.mjs';

const [name, mixture, path] = process.argv.slice(2);
const source = presets[name];
if (!source || !mixtureNames.includes(mixture) || !path) {
  console.error(`usage: node random-gguf.mjs SHAPE ${mixtureNames.join('|')} OUT.gguf`);
  console.error(`shapes: ${Object.keys(presets).join(' ')}`);
  process.exit(2);
}
const architecture = architectures.find(({ huggingFaceTypes }) =>
  huggingFaceTypes.includes(source.model_type),
);
const definition = architecture.fromHuggingFace(ConfigFields.fromJson(name, source));
const ggufName = architecture.ggufArchitectures[0];
await writeRandomGguf(path, {
  name,
  architecture: ggufName,
  definition,
  configuration: configToGguf(definition, ggufName),
  mixture,
});
console.log(`${path}: ${((await stat(path)).size / 1e9).toFixed(2)} GB`);

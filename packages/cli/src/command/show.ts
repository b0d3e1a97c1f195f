/** `unicorn show`: what a model, or any weights file, holds. */
import { describeWeights, type ModelDescription, type WeightsDescription } from '@unicorn-exec/api';
import { megabytes } from '../engine-session.js';
import type { ModelFlags } from '../option.js';
import { visible, type Terminal } from '../terminal.js';
import { wrapped } from '../wrapped.js';

interface ShowFlags extends ModelFlags {
  readonly tensors?: boolean;
  readonly vocabulary?: boolean;
}

/** Blanks in front of values. */
const indent = 15;

/** Characters of a metadata value that are shown; `--json` has it whole. */
const shownCharacters = 200;

/** Lists of metadata that are longer hold the vocabulary, which nobody reads. */
const shownEntries = 64;

export async function show(terminal: Terminal, path: string | undefined, flags: ShowFlags): Promise<void> {
  const description = await describeWeights(path ?? flags.model);
  if (flags.json) terminal.writeJson(flags.vocabulary ? description : withoutVocabulary(description));
  else print(terminal, description, flags);
}

/** The description without long lists; `omitted` says how many entries each has. */
function withoutVocabulary(
  description: WeightsDescription,
): WeightsDescription & { readonly omitted: Readonly<Record<string, number>> } {
  const entries = Object.entries(description.metadata);
  const isLong = (value: unknown): value is unknown[] => Array.isArray(value) && value.length > shownEntries;
  return {
    ...description,
    metadata: Object.fromEntries(entries.filter(([, value]) => !isLong(value))),
    omitted: Object.fromEntries(
      entries.flatMap(([key, value]) => (isLong(value) ? [[key, value.length]] : [])),
    ),
  };
}

function print(terminal: Terminal, description: WeightsDescription, flags: ShowFlags): void {
  // What a file says of itself commands no terminal.
  const write = (text: string): void => terminal.write(visible(text));
  const heading = (text: string): void =>
    terminal.write(`\n${terminal.style('bold', text, terminal.stdout)}\n`);
  const { model, bytes } = description;
  const rows: [string, string][] = [
    ['path', description.path],
    ['format', description.format],
    ['architecture', description.architecture ?? 'unknown'],
    ['parameters', description.parameters.toLocaleString('en')],
    ['size', megabytes(bytes)],
    ['quantization', mixText(description)],
    ...(model ? modelRows(model) : []),
    ['context', description.contextLength?.toLocaleString('en') ?? 'unknown'],
    ...(model ? memoryRows(model) : []),
    ['licence', description.license ?? 'not named in the file'],
    ...(model ? [templateRow(model)] : []),
    ['tensors', String(description.tensors.length)],
    ...(model?.warnings ?? []).map((warning): [string, string] => ['warning', warning]),
  ];
  for (const [name, value] of rows) {
    // A name of 15 characters would run into its value.
    write(`${name.padEnd(indent)}${wrapped(value, indent).trimStart() || '\n'}`);
  }
  if (description.elastic) {
    heading('sizes (--elastic)');
    for (const { name, parameters, bytesPerToken, hostBytesPerToken } of description.elastic) {
      const gathered = hostBytesPerToken > 0 ? `, ${(hostBytesPerToken / 1e3).toFixed(1)} kB gathered` : '';
      write(
        `${name.padEnd(16)}${(parameters / 1e6).toFixed(1).padStart(9)} M parameters${megabytes(bytesPerToken).padStart(10)} a token${gathered}\n`,
      );
    }
  }
  const metadata = Object.entries(description.metadata);
  if (metadata.length > 0) heading('metadata');
  for (const [key, value] of metadata) write(metadataLines(key, metadataText(value)));
  if (!flags.tensors) return;
  heading('tensors');
  for (const { name, dtype, shape, bytes: size } of description.tensors) {
    write(`${name.padEnd(48)} ${dtype.padEnd(8)} [${shape.join(', ')}] ${size}\n`);
  }
}

/** `Q8_0 99 % (4.25 GB in 120 tensors), F32 1 % (...); 8.52 bits a weight`. */
function mixText({ quantization, bytes, parameters }: WeightsDescription): string {
  if (parameters === 0) return 'no weights';
  const mix = quantization.map(
    ({ type, tensors, bytes: part }) =>
      `${type} ${percent(part / bytes)} (${megabytes(part)} in ${tensors} tensor${tensors === 1 ? '' : 's'})`,
  );
  return `${mix.join(', ')}; ${((8 * bytes) / parameters).toFixed(2)} bits a weight`;
}

const percent = (share: number): string =>
  share > 0 && share < 0.01 ? 'below 1 %' : `${(100 * share).toFixed(0)} %`;

function modelRows({
  name,
  layers,
  width,
  heads,
  kvHeads,
  headDim,
  sliding,
  vocabularySize,
}: ModelDescription): [string, string][] {
  const windowed = sliding ? `, ${sliding.layers} of them see ${sliding.window} positions` : '';
  return [
    ['name', name],
    ['layers', `${layers}, ${width.toLocaleString('en')} features wide${windowed}`],
    ['heads', `${heads} of ${headDim} elements, ${kvHeads} for keys and values`],
    ['vocabulary', vocabularySize.toLocaleString('en')],
  ];
}

function memoryRows({ memory }: ModelDescription): [string, string][] {
  return memory.map(({ contextLength, weightBytes, kvBytes, totalBytes }) => [
    'memory',
    `${megabytes(totalBytes)} at ${contextLength.toLocaleString('en')} tokens of context: ` +
      `${megabytes(weightBytes)} of weights, ${megabytes(kvBytes)} of keys and values in f16`,
  ]);
}

function templateRow({ template }: ModelDescription): [string, string] {
  if (!template) return ['template', 'none: `run --raw` continues a text, `chat` is refused'];
  const { characters, tools, contentParts } = template;
  return [
    'template',
    `${characters.toLocaleString('en')} characters; ${tools ? 'writes' : 'ignores'} tools, ` +
      `takes content ${contentParts ? 'in parts' : 'as text only'}`,
  ];
}

function metadataText(value: unknown): string {
  if (Array.isArray(value) && value.length > shownEntries) return `array of ${value.length}`;
  const text =
    typeof value === 'string'
      ? value.trim()
      : Array.isArray(value)
        ? value.map(String).join(', ')
        : String(value);
  return text.length > shownCharacters
    ? `${text.slice(0, shownCharacters)}… (${text.length} characters)`
    : text || '""';
}

/** The key and its value in a line where both fit; else the value below its key. */
function metadataLines(key: string, text: string): string {
  const line = wrapped(`${key}: ${text}`, 0);
  return line.indexOf('\n') === line.length - 1 ? line : `${key}:\n${wrapped(text, 4)}`;
}

/** `unicorn show`: what a model, or any weights file, holds. */
import { describeWeights, type WeightsDescription } from '@unicorn-exec/api';
import { megabytes } from '../engine-session.js';
import type { ModelFlags } from '../option.js';
import type { Terminal } from '../terminal.js';

interface ShowFlags extends ModelFlags {
  readonly tensors?: boolean;
}

/** Metadata values longer than this are cut in the table; `--json` has them whole. */
const shownCharacters = 72;

export async function show(terminal: Terminal, path: string | undefined, flags: ShowFlags): Promise<void> {
  const description = await describeWeights(path ?? flags.model);
  if (flags.json) terminal.writeJson(description);
  else print(terminal, description, flags.tensors ?? false);
}

function print(terminal: Terminal, description: WeightsDescription, withTensors: boolean): void {
  const heading = (text: string): void => terminal.write(`\n${terminal.style('bold', text)}\n`);
  const rows: [string, string][] = [
    ['path', description.path],
    ['format', description.format],
    ['architecture', description.architecture ?? 'unknown'],
    ['parameters', description.parameters.toLocaleString('en')],
    ['size', megabytes(description.bytes)],
    ['context', description.contextLength?.toLocaleString('en') ?? 'unknown'],
    ['tensors', String(description.tensors.length)],
  ];
  for (const [name, value] of rows) terminal.write(`${name.padEnd(14)} ${value}\n`);
  if (description.elastic) {
    heading('sizes (--elastic)');
    for (const { name, parameters, bytesPerToken, hostBytesPerToken } of description.elastic) {
      const gathered =
        hostBytesPerToken > 0 ? `, ${(hostBytesPerToken / 1e3).toFixed(1)} kB of it gathered` : '';
      terminal.write(
        `${name.padEnd(16)} ${(parameters / 1e6).toFixed(1).padStart(8)} M parameters ${megabytes(bytesPerToken).padStart(10)} a token${gathered}\n`,
      );
    }
  }
  const metadata = Object.entries(description.metadata);
  if (metadata.length > 0) heading('metadata');
  for (const [key, value] of metadata) {
    const text = Array.isArray(value) ? `array of ${value.length}` : JSON.stringify(value);
    terminal.write(
      `${key}: ${text.length > shownCharacters ? `${text.slice(0, shownCharacters)}…` : text}\n`,
    );
  }
  if (!withTensors) return;
  heading('tensors');
  for (const { name, dtype, shape, bytes } of description.tensors) {
    terminal.write(`${name.padEnd(48)} ${dtype.padEnd(8)} [${shape.join(', ')}] ${bytes}\n`);
  }
}

/** The registry: every architecture that can be opened. Adding one is adding its file here. */
import { UnicornError } from '@unicorn-exec/tensor';
import type { Architecture } from './architecture.js';
import { gemma2 } from './gemma2.js';
import { gemma3 } from './gemma3.js';
import { gemma3n } from './gemma3n.js';
import { llama } from './llama.js';
import { qwen2 } from './qwen2.js';
import { qwen3 } from './qwen3.js';
import { smollm3 } from './smollm3.js';

export const architectures: readonly Architecture[] = [llama, smollm3, qwen2, qwen3, gemma2, gemma3, gemma3n];

/** @param type `model_type` of `config.json` @throws UnicornError `unsupported/architecture` listing what is known */
export function findHuggingFaceArchitecture(type: string, file: string): Architecture {
  const found = architectures.find(({ huggingFaceTypes }) => huggingFaceTypes.includes(type));
  return (
    found ??
    unknownArchitecture(
      type,
      file,
      architectures.flatMap(({ huggingFaceTypes }) => huggingFaceTypes),
    )
  );
}

/** @param name `general.architecture` @throws UnicornError `unsupported/architecture` listing what is known */
export function findGgufArchitecture(name: string, file: string): Architecture {
  const found = architectures.find(({ ggufArchitectures }) => ggufArchitectures.includes(name));
  return (
    found ??
    unknownArchitecture(
      name,
      file,
      architectures.flatMap(({ ggufArchitectures }) => ggufArchitectures),
    )
  );
}

function unknownArchitecture(name: string, file: string, known: readonly string[]): never {
  const shown = JSON.stringify(name.length > 60 ? `${name.slice(0, 57)}...` : name);
  throw new UnicornError('unsupported/architecture', `${file}: the architecture ${shown} is not supported.`, {
    fields: { file, architecture: name, supported: [...known] },
    fix: `Supported: ${known.join(', ')}.`,
  });
}

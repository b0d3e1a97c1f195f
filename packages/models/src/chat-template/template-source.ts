/** Where a model keeps its chat template: Hugging Face's `tokenizer_config.json`, or the metadata of a GGUF file. */
import { UnicornError, parseJson } from '@unicorn-exec/tensor';
import type { GgufTokenizerMetadata } from '../tokenizer/from-gguf.js';
import { namedTokens } from '../tokenizer/tokenizer-config.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { ChatTemplate } from './chat-template.js';

/**
 * The template of a Hugging Face directory, undefined where it has none. Where there are several and none is the default,
 * one that refuses every conversation, unless it has tools and there is one for these.
 *
 * @param tokenizerConfigJson the text of `tokenizer_config.json`, or its parsed value
 * @param files texts of template files by name: `default` of `chat_template.jinja`, others of `additional_chat_templates`. Where
 * there are any, no template of the configuration counts. A string is the default
 * @throws UnicornError `format/chat-template`
 */
export function chatTemplateFromConfig(
  tokenizerConfigJson: unknown,
  files: string | ReadonlyMap<string, string> = new Map(),
): ChatTemplate | undefined {
  const config = parsed(tokenizerConfigJson);
  const beside = typeof files === 'string' ? new Map([['default', files]]) : files;
  const listed = beside.size > 0 ? beside : configuredTemplates(config['chat_template']);
  if (listed.size === 0) return undefined;
  const toolUseSource = listed.get('tool_use');
  return new ChatTemplate(listed.get('default') ?? refusing([...listed.keys()]), {
    specialTokens: namedTokens(config),
    ...(toolUseSource === undefined ? {} : { toolUseSource }),
  });
}

function configuredTemplates(own: unknown): Map<string, string> {
  const listed = new Map<string, string>();
  if (typeof own === 'string') listed.set('default', own);
  else if (Array.isArray(own)) {
    for (const entry of own as unknown[]) {
      const { name, template } = (entry ?? {}) as { name?: unknown; template?: unknown };
      if (typeof name === 'string' && typeof template === 'string') listed.set(name, template);
    }
  }
  return listed;
}

function refusing(names: readonly string[]): string {
  const sentence = `The model has several chat templates, and none is the default: ${[...names].sort().join(', ')}.`;
  return `{{ raise_exception(${JSON.stringify(sentence)}) }}`;
}

/**
 * The template of a GGUF file, undefined where it has none.
 *
 * @param tokenizer of the same file: it knows how the special tokens are spelled
 * @throws UnicornError `format/chat-template`, and `usage/token-id` for a special token's id that does not exist
 */
export function chatTemplateFromGguf(
  metadata: GgufTokenizerMetadata,
  tokenizer: Pick<Tokenizer, 'piece'>,
): ChatTemplate | undefined {
  const sourceKey = 'tokenizer.chat_template';
  if (!metadata.has(sourceKey)) return undefined;
  const specialTokens: Record<string, string> = {};
  for (const [name, key] of ggufTokenKeys) {
    if (metadata.has(key)) specialTokens[name] = tokenizer.piece(metadata.number(key));
  }
  const toolUseKey = `${sourceKey}.tool_use`;
  return new ChatTemplate(metadata.string(sourceKey), {
    specialTokens,
    ...(metadata.has(toolUseKey) ? { toolUseSource: metadata.string(toolUseKey) } : {}),
  });
}

/** What templates call a token, and the GGUF key of its id. */
const ggufTokenKeys = [
  ['bos_token', 'tokenizer.ggml.bos_token_id'],
  ['eos_token', 'tokenizer.ggml.eos_token_id'],
  ['unk_token', 'tokenizer.ggml.unknown_token_id'],
  ['pad_token', 'tokenizer.ggml.padding_token_id'],
] as const;

function parsed(value: unknown): Record<string, unknown> {
  let config = value;
  if (typeof value === 'string') {
    try {
      config = parseJson(value);
    } catch (error) {
      throw new UnicornError(
        'format/chat-template',
        `tokenizer_config.json is not JSON: ${(error as Error).message}`,
        {
          cause: error,
        },
      );
    }
  }
  if (typeof config === 'object' && config !== null && !Array.isArray(config))
    return config as Record<string, unknown>;
  throw new UnicornError('format/chat-template', 'tokenizer_config.json is not an object.');
}

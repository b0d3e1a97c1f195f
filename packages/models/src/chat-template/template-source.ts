/** Where a model keeps its chat template: Hugging Face's `tokenizer_config.json`, or the metadata of a GGUF file. */
import { UnicornError, parseJson } from '@unicorn-exec/tensor';
import type { GgufTokenizerMetadata } from '../tokenizer/from-gguf.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { ChatTemplate } from './chat-template.js';

/**
 * The template of a Hugging Face directory, undefined where it has none.
 *
 * @param tokenizerConfigJson the text of `tokenizer_config.json`, or its parsed value
 * @param templateSource the text of `chat_template.jinja` beside it, which comes first where both exist
 * @throws UnicornError `format/chat-template`
 */
export function chatTemplateFromConfig(
  tokenizerConfigJson: unknown,
  templateSource?: string,
): ChatTemplate | undefined {
  const config = parsed(tokenizerConfigJson);
  const listed = new Map<string, string>();
  const own = config['chat_template'];
  if (typeof own === 'string') listed.set('default', own);
  else if (Array.isArray(own)) {
    for (const entry of own as unknown[]) {
      const { name, template } = (entry ?? {}) as { name?: unknown; template?: unknown };
      if (typeof name === 'string' && typeof template === 'string') listed.set(name, template);
    }
  }
  if (templateSource !== undefined) listed.set('default', templateSource);
  const source = listed.get('default') ?? listed.values().next().value;
  if (source === undefined) return undefined;

  const specialTokens: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    if (!key.endsWith('_token')) continue;
    const text =
      typeof value === 'string' ? value : (value as { content?: unknown } | null | undefined)?.content;
    if (typeof text === 'string') specialTokens[key] = text;
  }
  const toolUseSource = listed.get('tool_use');
  return new ChatTemplate(source, {
    specialTokens,
    ...(toolUseSource === undefined ? {} : { toolUseSource }),
  });
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

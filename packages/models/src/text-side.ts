/** The text side of a model, wherever its files keep it: tokenizer and chat template, without weights. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openGguf } from '@unicorn-exec/checkpoint';
import { isUnicornError, parseJson, readRegularFile, UnicornError } from '@unicorn-exec/tensor';
import { chatTemplateFromConfig, chatTemplateFromGguf, type ChatTemplate } from './chat-template/index.js';
import { tokenizerFromGguf, tokenizerFromJson, type Tokenizer } from './tokenizer/index.js';
import { mergedTokenizerConfig } from './tokenizer/tokenizer-config.js';

export interface TextSide {
  readonly tokenizer: Tokenizer;
  /** Undefined where the model has none. */
  readonly chatTemplate: ChatTemplate | undefined;
}

/**
 * Opens tokenizer and chat template of a model whose architecture need not be known.
 *
 * @param path a GGUF file, or a directory with `tokenizer.json`
 * @throws UnicornError `usage/file`, `format/*`, `unsupported/tokenizer`
 */
export async function openTextSide(path: string): Promise<TextSide> {
  const isDirectory = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (isDirectory)
    return { tokenizer: await directoryTokenizer(path), chatTemplate: await directoryTemplate(path) };
  const file = await openGguf(path);
  try {
    const tokenizer = tokenizerFromGguf(file.metadata);
    return { tokenizer, chatTemplate: chatTemplateFromGguf(file.metadata, tokenizer) };
  } finally {
    await file.close();
  }
}

/** @throws UnicornError `usage/file` when there is no `tokenizer.json` */
export async function directoryTokenizer(directory: string): Promise<Tokenizer> {
  const bytes = await optionalBytes(join(directory, 'tokenizer.json'));
  if (bytes === undefined) {
    throw new UnicornError('usage/file', `${directory} has no tokenizer.json.`, {
      fields: { file: join(directory, 'tokenizer.json') },
      fix: 'Download the complete model directory, or give the prompt as token ids.',
    });
  }
  return tokenizerFromJson(bytes, await tokenizerConfig(directory));
}

export async function directoryTemplate(directory: string): Promise<ChatTemplate | undefined> {
  const [config, files] = await Promise.all([tokenizerConfig(directory), templateFiles(directory)]);
  return chatTemplateFromConfig(config, files);
}

/** `tokenizer_config.json` and `special_tokens_map.json`, either of which may be absent. */
async function tokenizerConfig(directory: string): Promise<Readonly<Record<string, unknown>>> {
  const [config, map] = await Promise.all(
    ['tokenizer_config.json', 'special_tokens_map.json'].map((name) => optionalJson(join(directory, name))),
  );
  return mergedTokenizerConfig(config ?? {}, map);
}

/** Published models have at most five. */
const maxTemplateFiles = 64;
const templateEnding = '.jinja';

/** Texts of `chat_template.jinja`, which is the default, and of `additional_chat_templates`, by name. */
async function templateFiles(directory: string): Promise<ReadonlyMap<string, string>> {
  const templates = new Map<string, string>();
  const own = await optionalText(join(directory, 'chat_template.jinja'));
  if (own !== undefined) templates.set('default', own);
  const folder = join(directory, 'additional_chat_templates');
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(templateEnding));
  if (names.length > maxTemplateFiles) {
    throw new UnicornError(
      'format/chat-template',
      `${folder} has ${names.length} templates; at most ${maxTemplateFiles} are read.`,
      { fields: { file: folder, templates: names.length, limit: maxTemplateFiles } },
    );
  }
  for (const name of names.sort()) {
    const text = await optionalText(join(folder, name));
    if (text !== undefined) templates.set(name.slice(0, -templateEnding.length), text);
  }
  return templates;
}

/**
 * Bytes of a side file. The largest published `tokenizer.json` (Gemma 3) has 33 MB; eight times that is still read in
 * a second.
 */
const sideFileBytesMax = 256 * 2 ** 20;

/**
 * The text of a file beside the weights, undefined where there is none.
 *
 * @throws UnicornError `usage/file` for what is not a regular file or may not be read, `format/too-large`
 */
export async function optionalText(path: string): Promise<string | undefined> {
  return (await optionalBytes(path))?.toString('utf8');
}

/** The same as it is on disk. */
async function optionalBytes(path: string): Promise<Buffer | undefined> {
  try {
    return await readRegularFile(path, sideFileBytesMax);
  } catch (error) {
    const isAbsent = isUnicornError(error) && ['ENOENT', 'ENOTDIR'].includes(String(error.fields.reason));
    if (isAbsent) return undefined;
    throw error;
  }
}

/** The parsed object of such a file. @throws UnicornError `format/json` */
export async function optionalJson(path: string): Promise<Record<string, unknown> | undefined> {
  const text = await optionalText(path);
  if (text === undefined) return undefined;
  try {
    const value: unknown = parseJson(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch (cause) {
    throw new UnicornError('format/json', `${path} is not JSON: ${(cause as Error).message}`, {
      fields: { file: path },
      fix: 'Download the file again.',
      cause,
    });
  }
  throw new UnicornError('format/json', `${path} is JSON, but not an object.`, { fields: { file: path } });
}

/** The text side of a model alone: its tokenizer and chat template, without weights or a device. */
import { basename } from 'node:path';
import { openTextSide, type ChatTemplate, type Tokenizer } from '@unicorn-exec/models';
import { locateModel } from './model-location.js';
import { checkArgument, text } from './option.js';

export interface ModelText {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  readonly chatTemplate: ChatTemplate | undefined;
}

/** @throws UnicornError `usage/option`, `usage/model` when there is nothing of that name, `unsupported/tokenizer`, `format/*` */
export async function openText(model?: string): Promise<ModelText> {
  checkArgument('openText', 'model', model, text);
  const path = await locateModel(model);
  return { name: basename(path), ...(await openTextSide(path)) };
}

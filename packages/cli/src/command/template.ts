/** `unicorn template`: a conversation through the model's chat template. */
import { conversationFromText, openText, type Conversation } from '@unicorn-exec/api';
import { UnicornError } from '@unicorn-exec/api/error';
import { decodeUtf8, parseJson, readStandardInput, readTextFile } from '../input.js';
import { mapJsonLines } from '../json-lines.js';
import type { ModelFlags } from '../option.js';
import type { Terminal } from '../terminal.js';

interface TemplateFlags extends ModelFlags {
  readonly tools?: string;
  readonly option?: Record<string, unknown>;
  readonly jsonl?: boolean;
}

export async function template(
  terminal: Terminal,
  file: string | undefined,
  flags: TemplateFlags,
): Promise<void> {
  const { chatTemplate, name } = await openText(flags.model);
  if (!chatTemplate) throw new UnicornError('unsupported/chat-template', `${name} has no chat template.`);
  const tools = flags.tools === undefined ? undefined : await toolsOf(flags.tools);
  let isTold = false;
  const convert = (value: unknown, text: string): { prompt: string } => {
    const given = conversation(value, text, tools, flags.option);
    if (given.tools && !chatTemplate.facts.tools && !isTold) {
      isTold = true;
      terminal.warn(`the chat template of ${name} ignores tools.`);
    }
    return { prompt: chatTemplate.render(given) };
  };
  if (flags.jsonl) {
    await mapJsonLines(terminal, convert);
    return;
  }
  const what = file === undefined ? 'conversation' : `file ${file}`;
  const text =
    file === undefined
      ? decodeUtf8(await readStandardInput('conversation'), 'conversation')
      : await readTextFile(file);
  const result = convert(parseJson(text, what), text);
  if (flags.json) terminal.writeJson(result);
  else terminal.write(result.prompt);
}

/** The text of a file of tools, whose numbers and order of keys a template prints. */
async function toolsOf(path: string): Promise<string> {
  const text = await readTextFile(path);
  parseJson(text, `file ${path}`);
  return text;
}

/** An array of messages, or `{messages, tools?, options?}`; flags win over the file. */
function conversation(
  value: unknown,
  text: string,
  tools: string | undefined,
  options: Record<string, unknown> | undefined,
): Conversation {
  const isOne = Array.isArray(value) || (typeof value === 'object' && value !== null && 'messages' in value);
  if (!isOne) {
    throw new UnicornError(
      'usage/conversation',
      'A conversation is an array of messages, or an object with `messages`.',
      {
        fix: 'For example [{"role": "user", "content": "Hi!"}].',
      },
    );
  }
  const file = conversationFromText(text);
  return {
    ...file,
    ...(tools === undefined ? {} : { tools }),
    options: { ...file.options, ...options },
  };
}

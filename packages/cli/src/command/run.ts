/** `unicorn run`: one answer. */
import { UnicornError } from '@unicorn-exec/api/error';
import type { ChatMessage, Engine, GenerateChunk, GenerateRequest } from '@unicorn-exec/api';
import { AnswerPrinter } from '../answer-printer.js';
import { elasticFrom, loadOptions, withEngine } from '../engine-session.js';
import { promptWarning } from '../hint.js';
import { decodeUtf8, readPipedInput, readPromptFile, readStandardInput } from '../input.js';
import {
  samplingFrom,
  speculationFrom,
  type DraftFlags,
  type EngineFlags,
  type SamplingFlags,
} from '../option.js';
import type { Terminal } from '../terminal.js';

export interface RunFlags extends EngineFlags, SamplingFlags, DraftFlags {
  readonly raw?: boolean;
  readonly system?: string;
  readonly prompt?: string;
  readonly file?: string;
  readonly verbose?: boolean;
  readonly stream?: boolean;
}

export async function run(terminal: Terminal, prompt: string | undefined, flags: RunFlags): Promise<void> {
  const doubt = promptWarning(prompt, flags.model);
  if (doubt) terminal.warn(doubt);
  const text = await promptText(terminal, prompt, flags);
  await withEngine(terminal, loadOptions(flags, terminal), async ({ engine, loadMs }) => {
    const request = answerRequest(engine, text, flags, terminal.signal);
    const tokens: number[] = [];
    let answer = '';
    let reasoning = '';
    const printer = new AnswerPrinter(terminal, flags.hideThinking ?? false);
    let last: GenerateChunk | undefined;
    for await (const chunk of engine.generate(request)) {
      tokens.push(...chunk.tokens);
      answer += chunk.text;
      reasoning += chunk.reasoning ?? '';
      if (!flags.json) printer.print(chunk);
      // The last chunk's figures are in the document that follows.
      else if (flags.stream && !chunk.finishReason) terminal.writeJson(chunk, { lines: true });
      last = chunk;
    }
    if (!flags.json) terminal.write('\n');
    if (flags.verbose) terminal.note(speedText(engine, loadMs, last));
    if (!flags.json) return;
    const { memory } = engine.stats();
    const promptTokenIds = await engine.promptTokens(request);
    const document = {
      model: engine.model.name,
      backend: engine.backend.name,
      ...(engine.backend.fallback ? { fallback: engine.backend.fallback } : {}),
      ...(engine.backend.gpu ? { gpu: engine.backend.gpu } : {}),
      ...(engine.backend.split ? { split: engine.backend.split } : {}),
      ...(flags.elastic === undefined ? {} : { elastic: flags.elastic }),
      promptTokens: promptTokenIds.length,
      promptTokenIds,
      tokens,
      text: answer,
      ...(reasoning === '' ? {} : { reasoning }),
      finishReason: last?.finishReason,
      usage: last?.usage,
      timings: { loadMs, ...last?.timings },
      ...(last?.speculation ? { speculation: { draft: flags.draft, ...last.speculation } } : {}),
      memory: {
        weightsBytes: memory.weightBytes,
        kvBytes: memory.kvBytes,
        // ru_maxrss is in kilobytes.
        peakRssBytes: process.resourceUsage().maxRSS * 1024,
      },
    };
    terminal.writeJson(document, { lines: flags.stream ?? false });
  });
}

/**
 * The prompt: what was given as an argument, then the file, then what is piped in.
 *
 * @throws UnicornError `usage/input` when there is none, or it is empty
 */
async function promptText(terminal: Terminal, prompt: string | undefined, flags: RunFlags): Promise<string> {
  const given = [
    ...[prompt, flags.prompt].filter((text) => text !== undefined),
    ...(flags.file === undefined ? [] : [await readPromptFile(flags.file)]),
  ];
  const piped =
    given.length === 0
      ? await readStandardInput('prompt')
      : await readPipedInput('prompt', () =>
          terminal.warn('standard input is open and says nothing, so the prompt is what was given alone.'),
        );
  const parts = [...given, decodeUtf8(piped, 'prompt')].filter((part) => part.trim() !== '');
  if (parts.length === 0) {
    // A raw answer may begin with the model's first token alone, but somebody has to ask for it.
    if (flags.raw && given.length > 0) return given.join('');
    throw new UnicornError('usage/input', 'The prompt is empty.', {
      fix: 'Give a prompt as an argument, or pipe one in.',
    });
  }
  return parts.join('\n\n');
}

/** The figures of `--verbose`, in the words of the JSON document. */
function speedText(engine: Engine, loadMs: number, last: GenerateChunk | undefined): string {
  const { usage, timings } = last ?? {};
  if (!usage || !timings) return '';
  const { promptTokens, cachedPromptTokens, completionTokens } = usage;
  const cached = cachedPromptTokens > 0 ? ` (${cachedPromptTokens} cached)` : '';
  return [
    `model   ${engine.model.name} on ${engine.backend.device}`,
    `load    ${loadMs.toFixed(0)} ms`,
    `prompt  ${promptTokens} tokens${cached}, ${timings.prefillTokensPerSecond.toFixed(1)} tokens/s, ` +
      `first token after ${timings.ttftMs.toFixed(0)} ms`,
    `answer  ${completionTokens} tokens, ${timings.decodeTokensPerSecond.toFixed(1)} tokens/s, ended by ${last?.finishReason}`,
  ].join('\n');
}

function answerRequest(engine: Engine, text: string, flags: RunFlags, signal: AbortSignal): GenerateRequest {
  const options = {
    elastic: elasticFrom(engine, flags),
    speculation: speculationFrom(flags),
    sampling: samplingFrom(flags),
    maxTokens: flags.maxTokens,
    stop: flags.stop,
    overflow: flags.contextShift ? ('shift' as const) : undefined,
    signal,
  };
  if (flags.raw)
    return { ...options, prompt: flags.system === undefined ? text : `${flags.system}\n${text}` };
  const messages: ChatMessage[] = [{ role: 'user', content: text }];
  if (flags.system !== undefined) messages.unshift({ role: 'system', content: flags.system });
  return { ...options, messages };
}

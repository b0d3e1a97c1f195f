/** `unicorn run`: one answer. */
import type { ChatMessage, GenerateChunk, GenerateRequest } from '@unicorn-exec/api';
import { AnswerPrinter } from '../answer-printer.js';
import { loadOptions, withEngine } from '../engine-session.js';
import { decodeUtf8, readStandardInput } from '../input.js';
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
}

export async function run(terminal: Terminal, prompt: string | undefined, flags: RunFlags): Promise<void> {
  const text = prompt ?? decodeUtf8(await readStandardInput('prompt'), 'prompt');
  await withEngine(terminal, loadOptions(flags, terminal), async ({ engine, loadMs }) => {
    const request = answerRequest(text, flags, terminal.signal);
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
      last = chunk;
    }
    if (!flags.json) {
      terminal.write('\n');
      return;
    }
    const { memory } = engine.stats();
    const promptTokenIds = await engine.promptTokens(request);
    terminal.writeJson({
      model: engine.model.name,
      backend: engine.backend.name,
      ...(engine.backend.fallback ? { fallback: engine.backend.fallback } : {}),
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
    });
  });
}

function answerRequest(text: string, flags: RunFlags, signal: AbortSignal): GenerateRequest {
  const options = {
    elastic: flags.elastic,
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

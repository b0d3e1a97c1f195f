/**
 * One request from what its caller asks to the chunks of its answer: checked, tokenized, scheduled, read. It joins the text
 * of {@link AnswerText} to the tokens of a scheduler; when it ends early is for a {@link RequestEnd} to say.
 */
import { resolveSize, type Model, type Tokenizer } from '@unicorn-exec/models';
import type { GenerationEvent, SamplingParameters, SpeculationOptions } from '@unicorn-exec/scheduler';
import { isUnicornError } from '@unicorn-exec/tensor';
import type { LastingRuntime } from '../machine/lasting-runtime.js';
import type { Runtime } from '../machine/runtime.js';
import { checkArgument, checkOptions, record as object, required } from '../option.js';
import { AnswerText } from './answer-text.js';
import { generateShifting } from './context-shift.js';
import type { StreamBody } from './leavable-stream.js';
import { promptOf, type Prompt } from './prompt.js';
import type { EarlyEnd, RequestEnd } from './request-end.js';
import type { RequestRecord } from './request-record.js';
import {
  generateOptionTable,
  type FinishReason,
  type GenerateChunk,
  type GenerateRequest,
} from './request.js';
import { StopText } from './stop-text.js';
import { summarizeTimings } from './timings.js';

/** What requests are answered with. */
export interface AnswerSetup {
  readonly model: Model;
  readonly runtime: LastingRuntime;
  readonly contextLength: number;
  /** What a request that says nothing is sampled with. */
  readonly sampling: SamplingParameters;
  /** @throws UnicornError `usage/closed` */
  readonly expectOpen: () => void;
}

export interface AnswerParts {
  readonly request: GenerateRequest;
  readonly end: RequestEnd;
  readonly record: RequestRecord;
  /** Called at the first step. Must not throw. */
  readonly begun: () => void;
  /** Called once, at the end, whatever it is. Must not throw. */
  readonly finished: (record: RequestRecord) => void;
}

/** One generator, not two: a `yield*` would cost each token a turn of promises. */
export async function* answerRequest(
  setup: AnswerSetup,
  { request, end, record, begun, finished }: AnswerParts,
): StreamBody<GenerateChunk> {
  let runtime: Runtime | undefined;
  begun();
  try {
    const prepared = await prepare(setup, request, end);
    if (!prepared) return lastChunk(record, end.reason!, {});
    const { tokens, warnings, answer, endIds } = prepared;
    record.promptTokens = tokens.length;
    runtime = await enter(setup.runtime, end);
    if (!runtime) return lastChunk(record, end.reason!, {});
    const events = schedule(setup, runtime, { request, tokens, endIds, signal: end.signal });
    record.isAccepted = true;
    for await (const event of events) {
      if (event.kind === 'token') {
        // Tokens that were computed before the scheduler learned of the end are not part of the answer.
        if (answer.isStopped || end.reason) continue;
        const piece = event.stop ? { text: '' } : answer.push(event.token);
        if (answer.isStopped) end.stop();
        record.delivered++;
        yield event.logProbabilities
          ? { ...piece, tokens: [event.token], logProbabilities: [event.logProbabilities] }
          : { ...piece, tokens: [event.token] };
        continue;
      }
      record.cachedPromptTokens = event.usage.cachedPromptTokens;
      record.timings = summarizeTimings(event.timings, record.usage);
      record.stopString = answer.stopString;
      const isWhole = answer.isStopped && end.reason !== 'left';
      return lastChunk(record, isWhole ? 'stop' : (end.reason ?? event.finishReason), {
        ...answer.end(),
        ...(answer.stopString === undefined ? {} : { stopString: answer.stopString }),
        ...(warnings.length > 0 ? { warnings } : {}),
        ...(event.speculation ? { speculation: event.speculation } : {}),
      });
    }
    return undefined;
  } catch (error) {
    if (runtime) setup.runtime.noteFailure(runtime, error);
    record.fail(error);
    throw error;
  } finally {
    end.dispose();
    if (runtime) setup.runtime.leave();
    finished(record);
  }
}

/** Notes how the request ended; a reader who has left gets nothing. */
function lastChunk(
  record: RequestRecord,
  reason: FinishReason | EarlyEnd,
  more: Partial<GenerateChunk>,
): GenerateChunk | undefined {
  record.end(reason);
  if (reason === 'left') return undefined;
  const { usage, timings } = record;
  return { text: '', ...more, tokens: [], finishReason: reason, usage, timings };
}

/** Undefined when the request ended meanwhile. */
async function prepare(
  { model, expectOpen }: AnswerSetup,
  request: GenerateRequest,
  end: RequestEnd,
): Promise<(Prompt & { readonly answer: AnswerText; readonly endIds: readonly number[] }) | undefined> {
  checkArgument('Engine.generate', 'request', request, required(object));
  checkOptions('Engine.generate', request, generateOptionTable);
  expectOpen();
  end.watch(request);
  const stops = new StopText(stopsOf(request));
  const prompt = await end.before(promptOf(model, request));
  if (!prompt || end.reason) return undefined;
  const tokenizer = await end.before(tokenizerFor(model, request));
  if (end.reason) return undefined;
  // Configurations name one end; the tokenizer knows others, as that of a turn beside that of a text.
  const endIds = [...new Set([...model.endOfTurnIds, ...(tokenizer?.eosIds ?? [])])];
  return { ...prompt, answer: new AnswerText(tokenizer, prompt.tokens, stops), endIds };
}

function stopsOf({ stop = [] }: GenerateRequest): readonly string[] {
  return typeof stop === 'string' ? [stop] : stop;
}

/** Ids in, ids out needs no tokenizer: a checkpoint that comes without one then answers with empty texts. */
async function tokenizerFor(model: Model, request: GenerateRequest): Promise<Tokenizer | undefined> {
  try {
    return await model.tokenizer();
  } catch (error) {
    if ('tokens' in request && isUnicornError(error) && error.code === 'usage/file') return undefined;
    throw error;
  }
}

/** A runtime to leave; undefined when the request ended meanwhile: opening a lost device anew takes long. */
async function enter(runtime: LastingRuntime, end: RequestEnd): Promise<Runtime | undefined> {
  const entering = runtime.enter();
  const entered = await end.before(entering);
  if (!entered) {
    void entering.then(
      () => runtime.leave(),
      () => {},
    );
  }
  return entered;
}

function schedule(
  { model, contextLength, sampling }: AnswerSetup,
  { scheduler }: Runtime,
  {
    request,
    tokens,
    endIds,
    signal,
  }: Pick<Prompt, 'tokens'> & {
    readonly request: GenerateRequest;
    readonly endIds: readonly number[];
    readonly signal: AbortSignal;
  },
): AsyncIterable<GenerationEvent> {
  const scheduled = {
    tokens,
    sampling: { ...sampling, ...request.sampling },
    stopIds: request.ignoreEnd ? [] : endIds,
    maxTokens: request.maxTokens,
    reuse: request.reuse,
    cache: request.cache,
    priority: request.priority,
    logProbabilities: request.logProbabilities,
    signal,
    size: request.elastic === undefined ? undefined : resolveSize(model, request.elastic),
    speculation: speculationOf(model, request),
  };
  return request.overflow === 'shift'
    ? generateShifting(scheduler, scheduled, contextLength)
    : scheduler.generate(scheduled);
}

function speculationOf(model: Model, { speculation }: GenerateRequest): SpeculationOptions | undefined {
  if (!speculation) return undefined;
  const { draft } = speculation;
  return { ...speculation, draft: draft === 'ngram' ? draft : resolveSize(model, draft) };
}

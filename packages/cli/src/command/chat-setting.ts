/** The settings of `/set` and `/show`: names as users of other tools know them, for the options of a {@link Chat}. */
import type { Chat, ChatOptions, SamplingParameters } from '@unicorn-exec/api';
import { UnicornError } from '@unicorn-exec/api/error';

/** Sampling parameters by the names that `/set` takes. */
const samplingNames = {
  temperature: 'temperature',
  top_k: 'topK',
  top_p: 'topP',
  min_p: 'minP',
  typical: 'typicalP',
  repeat_penalty: 'repetitionPenalty',
  presence_penalty: 'presencePenalty',
  frequency_penalty: 'frequencyPenalty',
  seed: 'seed',
} as const satisfies Readonly<Record<string, keyof SamplingParameters>>;

const isSamplingName = (name: string): name is keyof typeof samplingNames =>
  Object.hasOwn(samplingNames, name);

export const settingNames: readonly string[] = [...Object.keys(samplingNames), 'max_tokens', 'system'];

/**
 * The options that `/set name value` changes.
 *
 * @param current the options of the conversation so far
 * @param value a number; for `system` any text, of which none takes the system message away
 * @throws UnicornError `usage/setting` for an unknown name or a value that is not a number
 */
export function changedBySet(current: ChatOptions, name: string, value: string): ChatOptions {
  if (name === 'system') return { system: value === '' ? undefined : value };
  const number = Number(value);
  const isNumber = value !== '' && Number.isFinite(number);
  if (name === 'seed' && /^\d{1,20}$/.test(value)) {
    // 64-bit seeds exceed what a double holds.
    return { sampling: { ...current.sampling, seed: BigInt(value) } };
  }
  if (isNumber && name === 'max_tokens') return { maxTokens: number };
  if (isNumber && name !== 'seed' && isSamplingName(name)) {
    return { sampling: { ...current.sampling, [samplingNames[name]]: number } };
  }
  throw new UnicornError('usage/setting', `"/set ${name} ${value}" is not understood.`, {
    fields: { name, value },
    fix: `Names: ${settingNames.join(', ')}; values are numbers.`,
  });
}

/** What `/show` prints, as JSON. */
export function shownSettings({ engine, options }: Chat): Readonly<Record<string, unknown>> {
  return {
    model: engine.model.name,
    backend: engine.backend.device,
    context: engine.context.contextLength,
    elastic: options.elastic ?? 'full',
    system: options.system,
    max_tokens: options.maxTokens,
    sampling: {
      ...engine.samplingDefaults,
      ...options.sampling,
      seed: options.sampling?.seed?.toString(),
    },
  };
}

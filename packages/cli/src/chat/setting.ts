/** The settings of `/set` and `/show`: names as users of other tools know them, for the options of a {@link Chat}. */
import type { Chat, ChatOptions, SamplingParameters } from '@unicorn-exec/api';
import { nearestName, UnicornError } from '@unicorn-exec/api/error';

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

/** Other spellings: ollama's, and the flags'. */
const otherNames: Readonly<Record<string, string>> = { temp: 'temperature', num_predict: 'max_tokens' };

/** The word that brings back what holds without a setting. */
const defaultWord = 'default';

/**
 * Changes the setting that `/set NAME VALUE` names; nothing is changed by a value that no answer could be computed with.
 *
 * @param words behind `/set`: a name; a number or `default`, for `system` any text, of which none takes the message away
 * @returns what holds now, as a sentence
 * @throws UnicornError `usage/setting` for an unknown name or a value that is not a number, and as `Chat.change`
 */
export function changeSetting(chat: Chat, words: readonly string[]): string {
  // `/set parameter temperature 0.5` is how ollama has it.
  const [first = '', ...rest] = words[0] === 'parameter' ? words.slice(1) : words;
  const plain = first.toLowerCase().replaceAll('-', '_');
  const name = otherNames[plain] ?? plain;
  const value = rest.join(' ');
  if (name === '') {
    throw new UnicornError('usage/setting', '/set takes a setting and its value.', {
      fix: `For example \`/set temperature 0.5\`. The settings are ${settingNames.join(', ')}.`,
    });
  }
  if (!settingNames.includes(name)) {
    const nearest = nearestName(name, settingNames);
    throw new UnicornError('usage/setting', `There is no setting "${first}".`, {
      fields: { name: first, value },
      fix: `${nearest === undefined ? '' : `Did you mean "${nearest}"? `}The settings are ${settingNames.join(', ')}.`,
    });
  }
  chat.change(optionsOf(chat.options, name, value));
  const now = currentSettings(chat)[name];
  if (name === 'system')
    return now === undefined ? 'there is no system message' : `the system message is: ${now}`;
  return `${name} is ${now ?? 'as the model has it'}`;
}

function optionsOf(current: ChatOptions, name: string, value: string): ChatOptions {
  if (name === 'system') return { system: value === '' ? undefined : value };
  const number = value === defaultWord ? undefined : numberOf(name, value);
  if (name === 'max_tokens') return { maxTokens: number === undefined ? undefined : Number(number) };
  if (!isSamplingName(name)) return {};
  const parameter = samplingNames[name];
  const { [parameter]: _before, ...others } = current.sampling ?? {};
  return { sampling: number === undefined ? others : { ...others, [parameter]: number } };
}

/** Seeds as bigints: those of 64 bits exceed what a double holds. */
function numberOf(name: string, value: string): number | bigint {
  if (name === 'seed' && /^\d{1,20}$/.test(value)) return BigInt(value);
  const number = value === '' ? Number.NaN : Number(value);
  if (Number.isFinite(number) && name !== 'seed') return number;
  throw new UnicornError('usage/setting', `"${value}" is not a value of ${name}.`, {
    fields: { name, value },
    fix: `Give a${name === 'seed' ? ' whole' : ''} number, or \`/set ${name} ${defaultWord}\`.`,
  });
}

/** The settings by the names of `/set`; undefined where none is in force. */
function currentSettings({ engine, options }: Chat): Readonly<Record<string, string | number | undefined>> {
  const sampling: SamplingParameters = { ...engine.samplingDefaults, ...options.sampling };
  const named = Object.entries(samplingNames).map(([name, parameter]) => {
    const value = sampling[parameter];
    return [name, typeof value === 'bigint' ? value.toString() : value] as const;
  });
  return { ...Object.fromEntries(named), max_tokens: options.maxTokens, system: options.system };
}

/** What `/show` prints, as JSON. */
export function shownSettings(chat: Chat): Readonly<Record<string, unknown>> {
  const { engine, options } = chat;
  return {
    model: engine.model.name,
    backend: engine.backend.device,
    context: engine.context.contextLength,
    elastic: options.elastic ?? 'full',
    ...currentSettings(chat),
  };
}

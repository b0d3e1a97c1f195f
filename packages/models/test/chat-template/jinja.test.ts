/**
 * Differential test: what Jinja2, set up as transformers sets it up, makes of some 700 expressions and templates and of 40
 * models' templates. `tools/chat-template-goldens.py` writes the golden.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  Dict,
  NotSupported,
  Refusal,
  RenderFailure,
  SyntaxFailure,
  Work,
  readJson,
  render,
  templateFrom,
} from '../../src/chat-template/jinja/index.js';
import { ChatTemplate, type Conversation } from '../../src/chat-template/index.js';

interface Outcome {
  text?: string;
  error?: string;
}

interface Golden {
  variables: string;
  templates: ({ source: string } & Outcome)[];
  conversations: Record<string, Conversation>;
  models: {
    name: string;
    source: string;
    special_tokens: Record<string, string>;
    cases: ({ conversation: string } & Outcome)[];
  }[];
}

const golden = JSON.parse(
  readFileSync(new URL('../goldens/chat-template.json', import.meta.url), 'utf8'),
) as Golden;
const variables = [...(readJson(golden.variables) as Dict).entries()] as [string, never][];

function outcome(source: string): Outcome & { refused?: boolean } {
  try {
    return { text: render(templateFrom(source), variables, () => new Date(), new Work(2 ** 27)) };
  } catch (error) {
    if (error instanceof NotSupported) return { error: error.message, refused: true };
    if (error instanceof RenderFailure || error instanceof SyntaxFailure || error instanceof Refusal) {
      return { error: error.message };
    }
    throw error;
  }
}

/** What Jinja2 can do and we refuse, by name and with a clear error. Everything else is the same. */
const refused: readonly string[] = [
  // These print addresses.
  '{{ text.upper }}',
  '{{ nested.items }}',
  '{{ words | map }}',
  '{{ people | selectattr }}',
  // A table of all names of characters, bytes.
  "{{ '\\N{BULLET}' | length }}",
  '{{ text.encode is defined and 0 }}',
];

describe('templates render as Jinja2 renders them', () => {
  it.each(golden.templates)('$source', ({ source, text, error }) => {
    const ours = outcome(source);
    if (ours.refused) expect(refused).toContain(source);
    else if (error === undefined) expect(ours).toEqual({ text });
    else expect(ours.error, error).toBeDefined();
  });
});

describe.each(golden.models)('the template of $name', ({ source, special_tokens: specialTokens, cases }) => {
  const template = new ChatTemplate(source, { specialTokens });
  it.each(cases)('$conversation', ({ conversation, ...reference }) => {
    // Jinja2 fails on parts or prints them as Python does, where the template knows only texts; we join them.
    const isJoined = conversation === 'parts' && !template.facts.contentParts;
    const { text, error } = isJoined
      ? cases.find((other) => other.conversation === 'parts as text')!
      : reference;
    const ours = () => template.render(golden.conversations[conversation]!);
    if (error !== undefined) expect(ours, error).toThrow(/chat template/);
    else expect(ours()).toBe(text);
  });
});

/** Values of a conversation that nest without end, or in a circle: refused with an error of ours, whatever they stand for. */
import { describe, expect, it } from 'vitest';
import { isUnicornError } from '@unicorn-exec/tensor';
import { ChatTemplate, conversationFrom, type Conversation } from '../../src/index.js';

const template = new ChatTemplate(
  '{% for message in messages %}{{ message | tojson }}{% endfor %}{{ tools | tojson }}{{ extra }}{{ extra == extra }}',
);
const user = { role: 'user', content: 'Hi' };

const values: Record<string, () => unknown> = {
  lists: () => Array.from({ length: 20_000 }).reduce((inner) => [inner], 1),
  objects: () => Array.from({ length: 20_000 }).reduce((inner) => ({ a: inner }), 1),
  circle: () => {
    const circle: Record<string, unknown> = {};
    circle.a = circle;
    return circle;
  },
};

const places: Record<string, (value: unknown) => unknown> = {
  conversation: (value) => value,
  messages: (messages) => ({ messages }),
  message: (value) => ({ messages: [value] }),
  content: (content) => ({ messages: [{ role: 'user', content }] }),
  part: (value) => ({ messages: [{ role: 'user', content: [{ type: 'text', text: 'a', more: value }] }] }),
  'tool call': (value) => ({
    messages: [
      user,
      { role: 'assistant', tool_calls: [{ type: 'function', function: { name: 'f', arguments: value } }] },
    ],
  }),
  tools: (tools) => ({ messages: [user], tools }),
  tool: (value) => ({
    messages: [user],
    tools: [{ type: 'function', function: { name: 'f', parameters: value } }],
  }),
  option: (extra) => ({ messages: [user], options: { extra } }),
};

describe.each(Object.keys(values))('%s without end', (name) => {
  it.each(Object.keys(places))('as a %s', (place) => {
    for (const use of [
      (value: unknown) => template.render(value as Conversation),
      (value: unknown) => template.render(conversationFrom(value)),
    ]) {
      let error: unknown = 'none';
      try {
        use(places[place]!(values[name]!()));
      } catch (caught) {
        error = caught;
      }
      if (error !== 'none') expect(isUnicornError(error) ? 'told' : error).toBe('told');
    }
  });
});

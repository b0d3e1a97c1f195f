/** What tools are in the text of a conversation, against JSON.parse, and through a template. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ChatTemplate, conversationFromText } from '../../src/index.js';
import { memberText } from '../../src/chat-template/conversation-text.js';

const template = new ChatTemplate('{{ tools | tojson }}', { specialTokens: {} });

it('keeps the numbers and the order of keys that the text has', () => {
  const tools = '[{"b": 1.0, "2": 9007199254740993, "1": 1e6, "a": "\\u00e9 ]}\\", x"}]';
  const json = `{"tools": [1], "messages": [{"role": "user", "content": "x, \\"tools\\": []"}], "tools" : ${tools} }`;
  const prompt = template.render(conversationFromText(json));
  expect(prompt).toBe('[{"b": 1.0, "2": 9007199254740993, "1": 1000000.0, "a": "é ]}\\", x"}]');
});

it('takes messages alone, and tools that are none', () => {
  expect(conversationFromText('[{"role": "user", "content": "hi"}]').messages).toHaveLength(1);
  expect(conversationFromText('{"messages": [], "tools": null}').tools).toBeNull();
  expect(() => conversationFromText('{"messages": 1}')).toThrow(
    expect.objectContaining({ code: 'usage/conversation' }),
  );
  expect(() => conversationFromText('{')).toThrow(SyntaxError);
});

it('finds the member that JSON.parse finds', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue()),
      fc.string(),
      fc.jsonValue(),
      (others, name, value) => {
        const json = JSON.stringify({ ...others, [name]: value }, undefined, 1);
        const text = memberText(json, name);
        // A member of that name as JSON.parse sets it: `__proto__` is one like any other.
        expect(JSON.parse(text!)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(memberText(json, `${name} of none`)).toBe(
          Object.hasOwn(others, `${name} of none`) ? expect.anything() : undefined,
        );
      },
    ),
  );
});

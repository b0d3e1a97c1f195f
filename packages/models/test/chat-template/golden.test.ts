import { existsSync, readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ChatTemplate, chatTemplateFromConfig, type Conversation } from '../../src/chat-template/index.js';
import { publishedTokenizer, readJson, shared } from '../tokenizer/golden.js';

interface Golden {
  template_sha256: string;
  special_tokens: Record<string, string>;
  cases: (Conversation & { name: string; text?: string; error?: string })[];
}

function expectGolden(template: ChatTemplate, golden: Golden): void {
  expect(createHash('sha256').update(template.source).digest('hex')).toBe(golden.template_sha256);
  for (const { name, text, error, ...conversation } of golden.cases) {
    const label = `${name}, ${JSON.stringify(conversation.options)}`;
    if (error === undefined) {
      expect(template.render(conversation), label).toBe(text);
    } else {
      const refusal = error.slice(error.indexOf(': ') + 2);
      expect(() => template.render(conversation), label).toThrow(
        expect.objectContaining({ code: 'usage/chat-template', fields: { refusal } }),
      );
    }
  }
}

describe('chat templates equal the reference', () => {
  it.each(['smollm2', 'qwen3'])('%s', (name) => {
    const golden = JSON.parse(
      readFileSync(new URL(`../goldens/chat-${name}.json`, import.meta.url), 'utf8'),
    ) as Golden & { template: string };
    expectGolden(new ChatTemplate(golden.template, { specialTokens: golden.special_tokens }), golden);
  });

  for (const name of ['gemma3', 'qwen2_5', 'qwen3']) {
    const folder = publishedTokenizer(name);
    it.skipIf(folder === undefined || !existsSync(`${shared}goldens`))(`${name}, from its package`, () => {
      const template = chatTemplateFromConfig(readJson(`${folder}/tokenizer_config.json`))!;
      expectGolden(template, readJson(`${shared}goldens/chat/${name}.json`) as Golden);
    });
  }
});

// Splits texts in a process that has no file descriptor left: prints what came of each as JSON.
import { openSync } from 'node:fs';
import { ChatTemplate, tokenizerFromJson } from '../../dist/index.js';

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
const tokenizerWith = (Regex) =>
  tokenizerFromJson({
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [{ type: 'Split', pattern: { Regex }, behavior: 'Isolated' }, byteLevel],
    },
    decoder: byteLevel,
    model: { type: 'BPE', vocab: { a: 0, b: 1, aa: 2 }, merges: ['a a'] },
  });

const patterns = ['(?:\\p{L}|\\s)', '(a+)+$', 'a*b'];
const tokenizers = patterns.map(tokenizerWith);
const template = new ChatTemplate('{% for message in messages %}{{ message.content }}{% endfor %}');

let exhausted;
try {
  for (;;) openSync('/dev/null');
} catch (error) {
  exhausted = error.code;
}
const outcome = (work) => {
  try {
    return work();
  } catch (error) {
    return error.code ?? String(error);
  }
};
const results = tokenizers.map((tokenizer) => outcome(() => tokenizer.encode(`${'a'.repeat(40)}b`).length));
const rendered = outcome(() => template.render({ messages: [{ role: 'user', content: 'Hi' }] }));
process.stdout.write(JSON.stringify({ exhausted, results, rendered }), () => process.exit(0));

/** `unicorn perplexity`: how well a model predicts a text. */
import { Engine } from '@unicorn-exec/api';
import { perplexity as score, type Perplexity } from '@unicorn-exec/api/measure';
import { elasticFrom, measuringOptions, withEngine } from '../engine-session.js';
import { readTextFile } from '../input.js';
import type { EngineFlags } from '../option.js';
import { ProgressBar } from '../progress.js';
import type { Terminal } from '../terminal.js';

interface PerplexityFlags extends EngineFlags {
  readonly against?: string;
}

export async function perplexity(terminal: Terminal, file: string, flags: PerplexityFlags): Promise<void> {
  const text = await readTextFile(file);
  await withEngine(terminal, measuringOptions(flags, terminal), async ({ engine }) => {
    const bar = new ProgressBar(terminal, 'scoring');
    const other =
      flags.against === undefined
        ? undefined
        : await Engine.load({ ...measuringOptions(flags, terminal), model: flags.against });
    try {
      const result = await score(engine, text, {
        against: other,
        elastic: elasticFrom(engine, flags),
        signal: terminal.signal,
        onProgress: (done, total) => bar.update(done, total, `${done} of ${total} tokens`),
      });
      bar.end();
      if (flags.json) {
        terminal.writeJson(result);
        return;
      }
      terminal.write(perplexityText(result));
    } finally {
      bar.end();
      await other?.close();
    }
  });
}

/** A line for each number, each with its standard error. */
function perplexityText({ perplexity: value, standardError, tokens, kl, sameTop }: Perplexity): string {
  const lines = [`perplexity     ${value.toFixed(4)} ± ${standardError.toFixed(4)} over ${tokens} tokens`];
  if (kl) {
    const number = (one: number): string => one.toExponential(3);
    lines.push(
      `KL divergence  ${number(kl.mean)} ± ${number(kl.standardError)} a token; ` +
        `median ${number(kl.median)}`,
      `               p99 ${number(kl.p99)}, max ${number(kl.max)}`,
    );
  }
  if (sameTop) {
    const percent = (share: number): string => (100 * share).toFixed(2);
    lines.push(`same top token ${percent(sameTop.share)} ± ${percent(sameTop.standardError)} % of tokens`);
  }
  return lines.map((line) => `${line}\n`).join('');
}

/** `unicorn perplexity`: how well a model predicts a text. */
import { Engine } from '@unicorn-exec/api';
import { perplexity as score } from '@unicorn-exec/api/measure';
import { measuringOptions, withEngine } from '../engine-session.js';
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
        elastic: flags.elastic,
        signal: terminal.signal,
        onProgress: (done, total) => bar.update(done, total, `${done} of ${total} tokens`),
      });
      bar.end();
      if (flags.json) {
        terminal.writeJson(result);
        return;
      }
      terminal.write(`perplexity ${result.perplexity.toFixed(4)} over ${result.tokens} tokens\n`);
      if (result.kl) {
        const { mean, p99, max } = result.kl;
        terminal.write(
          `KL divergence mean ${mean.toExponential(3)}, p99 ${p99.toExponential(3)}, max ${max.toExponential(3)}\n`,
        );
      }
    } finally {
      bar.end();
      await other?.close();
    }
  });
}

/** `unicorn bench --tune`: tries tiles for a model's products on the GPU and keeps the best. Ctrl-C keeps what was found. */
import { tuneModel, type TunedProduct, type TuneReport } from '@unicorn-exec/api/measure';
import type { BenchFlags } from '../option.js';
import { ProgressBar } from '../progress.js';
import { markdownTable } from '../table.js';
import type { Terminal } from '../terminal.js';

export async function benchTune(terminal: Terminal, flags: BenchFlags): Promise<void> {
  const bar = new ProgressBar(terminal, 'tuning');
  let report: TuneReport;
  try {
    report = await tuneModel({
      model: flags.model,
      backend: flags.backend,
      device: flags.device,
      budgetMs: flags.tuneSeconds * 1e3,
      signal: terminal.signal,
      onProgress: ({ done, total, improved }) => bar.update(done, total, `${improved} of ${done} improved`),
    });
  } finally {
    bar.end();
  }
  if (flags.json) terminal.writeJson(report);
  else print(terminal, report);
}

function print(terminal: Terminal, { device, path, complete, products }: TuneReport): void {
  terminal.write(`${device}\n\n`);
  const header = ['product', 'rows at once', 'of a step', 'default us', 'best us', 'faster', 'tile'];
  const rows = products.map((product) => [
    productText(product),
    String(product.shape.tokens),
    String(product.count),
    product.defaultUs.toFixed(1),
    product.bestUs.toFixed(1),
    `${(product.defaultUs / product.bestUs).toFixed(2)}x`,
    tileText(product),
  ]);
  terminal.write(markdownTable(header, rows));
  const improved = products.filter(({ defaultUs, bestUs }) => bestUs < defaultUs).length;
  terminal.write(`\n${improved} of ${products.length} products run faster than by default`);
  terminal.write(path === undefined || improved === 0 ? '\n' : `; kept in ${path}\n`);
  if (!complete) {
    terminal.note(
      'Not every product was looked at. Run it again with more time: --tune-seconds, and nothing interrupted.',
    );
  }
}

function productText({ form, shape }: TunedProduct): string {
  const gated = shape.banks === 2 ? 'gated ' : '';
  return `${gated}${shape.dtype} ${shape.rows}x${shape.columns} ${form}`;
}

function tileText({ tile, lanes }: TunedProduct): string {
  const fields = Object.entries({ ...(lanes === undefined ? {} : { lanes }), ...tile });
  return fields
    .filter(([, value]) => value !== Infinity)
    .map(([field, value]) => `${field} ${value}`)
    .join(', ');
}

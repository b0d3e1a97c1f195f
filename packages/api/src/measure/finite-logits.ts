/** Logits that are not numbers are no result: whoever measures is told where they begin. */
import { UnicornError } from '@unicorn-exec/tensor';
import type { Engine } from '../engine.js';
import { exactBackend } from '../machine/backends.js';

/**
 * @param logits of one token, or values of its hidden state
 * @throws UnicornError `device/result` where one is NaN or infinite, with `fields.position` and `fields.index`
 */
export function expectFinite(
  logits: Float32Array,
  {
    engine,
    position,
    what = 'logits',
  }: { readonly engine: Engine; readonly position: number; readonly what?: string },
): void {
  const index = logits.findIndex((logit) => !Number.isFinite(logit));
  if (index < 0) return;
  const { name, device } = engine.backend;
  throw new UnicornError(
    'device/result',
    `The model computed no numbers: its ${what} hold ${logits[index]} at position ${position}, index ${index}.`,
    {
      fields: {
        model: engine.model.name,
        backend: name,
        device,
        what,
        position,
        index,
        value: String(logits[index]),
      },
      fix: `The weights may hold NaN or infinity: check the file, or compare with --backend ${exactBackend}.`,
    },
  );
}

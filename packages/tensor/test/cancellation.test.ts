import { expect, it } from 'vitest';
import { throwIfCancelled, UnicornError } from '../src/index.js';

it('throws once the signal was aborted', () => {
  const controller = new AbortController();
  throwIfCancelled(undefined, 'Loading');
  throwIfCancelled(controller.signal, 'Loading');
  controller.abort('reason');
  expect(() => throwIfCancelled(controller.signal, 'Loading')).toThrow(
    expect.objectContaining({ code: 'usage/cancelled', message: 'Loading was cancelled.', cause: 'reason' }),
  );
});

it("throws the signal's reason where that is an error of ours", () => {
  const reason = new UnicornError('usage/cancelled', 'Interrupted.');
  expect(() => throwIfCancelled(AbortSignal.abort(reason), 'Loading')).toThrow(reason);
});

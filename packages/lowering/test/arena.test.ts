/** Buffers that live at the same time never overlap, and the plan wastes nothing that is easy to save. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arenaAlignment, planArena, type Lifetime } from '../src/index.js';

const lifetime = fc
  .record({ bytes: fc.integer({ min: 0, max: 5000 }), first: fc.nat(30), length: fc.nat(10) })
  .map(({ bytes, first, length }): Lifetime => ({ bytes, first, last: first + length }));

describe('planArena', () => {
  it('never overlaps buffers that live at the same time', () => {
    fc.assert(
      fc.property(fc.array(lifetime, { maxLength: 40 }), (buffers) => {
        const { offsets, bytes } = planArena(buffers);
        buffers.forEach((a, i) => {
          expect(offsets[i]! % arenaAlignment).toBe(0);
          expect(offsets[i]! + a.bytes).toBeLessThanOrEqual(bytes);
          buffers.slice(i + 1).forEach((b, k) => {
            const j = i + 1 + k;
            const together = a.first <= b.last && b.first <= a.last;
            const apart = offsets[i]! + a.bytes <= offsets[j]! || offsets[j]! + b.bytes <= offsets[i]!;
            expect(!together || apart || a.bytes === 0 || b.bytes === 0).toBe(true);
          });
        });
      }),
    );
  });

  it('needs no more than all buffers side by side, and no less than the fullest step', () => {
    fc.assert(
      fc.property(fc.array(lifetime, { maxLength: 40 }), (buffers) => {
        const size = (bytes: number): number => Math.ceil(bytes / arenaAlignment) * arenaAlignment;
        const { bytes } = planArena(buffers);
        const steps = Array.from({ length: 41 }, (_, step) =>
          buffers
            .filter(({ first, last }) => first <= step && step <= last)
            .reduce((sum, buffer) => sum + size(buffer.bytes), 0),
        );
        expect(bytes).toBeGreaterThanOrEqual(Math.max(...steps));
        expect(bytes).toBeLessThanOrEqual(buffers.reduce((sum, buffer) => sum + size(buffer.bytes), 0));
      }),
    );
  });

  it('reuses memory along a chain', () => {
    const chain = Array.from({ length: 10 }, (_, step) => ({ bytes: 640, first: step, last: step + 1 }));
    expect(planArena(chain).bytes).toBe(1280);
  });
});

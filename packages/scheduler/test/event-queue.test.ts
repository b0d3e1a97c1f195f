import { describe, expect, it } from 'vitest';
import { EventQueue } from '../src/event-queue.js';

describe('EventQueue', () => {
  it('keeps events for a late consumer, and consumers for late events', async () => {
    const queue = new EventQueue<number>(() => {});
    queue.push(1);
    const first = queue.next();
    const [second, third] = [queue.next(), queue.next()];
    queue.push(2);
    queue.end();
    queue.push(3);
    expect(await Promise.all([first, second, third])).toEqual([
      { value: 1, done: false },
      { value: 2, done: false },
      { value: undefined, done: true },
    ]);
  });

  it('fails after the events that wait, once', async () => {
    const queue = new EventQueue<number>(() => {});
    queue.push(1);
    queue.fail(new Error('lost'));
    expect((await queue.next()).value).toBe(1);
    await expect(queue.next()).rejects.toThrow('lost');
    expect((await queue.next()).done).toBe(true);
  });

  it('fails a consumer that waits', async () => {
    const queue = new EventQueue<number>(() => {});
    const waiting = queue.next();
    queue.fail(new Error('lost'));
    await expect(waiting).rejects.toThrow('lost');
    expect((await queue.next()).done).toBe(true);
  });

  it('tells the producer once when the consumer leaves early, and not after the end', async () => {
    let left = 0;
    const early = new EventQueue<number>(() => left++);
    await early.return();
    await early.return();
    expect(left).toBe(1);
    const ended = new EventQueue<number>(() => left++);
    ended.end();
    await ended.return();
    expect(left).toBe(1);
  });
});

/** A device that is lost under an engine: whoever was there is told, whoever comes later finds it opened anew. */
import { describe, expect, it } from 'vitest';
import { UnicornError, type Backend, type Device, type Executable } from '@unicorn-exec/tensor';
import { Engine, type GenerateRequest } from '../src/index.js';
import { backends } from './shared.js';

const request: GenerateRequest = {
  messages: [{ role: 'user', content: 'Who are you?' }],
  sampling: { temperature: 0 },
  maxTokens: 12,
};

const lost = (): UnicornError => new UnicornError('device/lost', 'The device fell off the bus.');
const stalled = (): UnicornError => new UnicornError('device/stalled', 'A dispatch waited in vain.');

/** A backend whose devices can be lost: everything that is submitted to such a one, or loaded there, fails from then on. */
class FragileBackend implements Backend {
  readonly name: string;
  readonly apiVersion: number;
  readonly probe: Backend['probe'];
  readonly planner: Backend['planner'];
  /** Devices that were opened, and those that were closed. */
  opened = 0;
  closed = 0;
  /** The device is lost when it is given this submission. */
  loseAt = Infinity;
  /** This submission alone fails. */
  stallAt = Infinity;
  /** The next device is lost while weights are loaded. */
  loseAtLoad = false;
  #submissions = 0;

  constructor(private readonly inner: Backend) {
    this.name = inner.name;
    this.apiVersion = inner.apiVersion;
    this.probe = () => inner.probe();
    this.planner = (info) => inner.planner(info);
  }

  async open(...given: Parameters<Backend['open']>): Promise<Device> {
    const device = await this.inner.open(...given);
    this.opened++;
    let isLost = false;
    const own: Partial<Device> = {
      load: (...load) => {
        if (!this.loseAtLoad) return device.load(...load);
        this.loseAtLoad = false;
        return Promise.reject(lost());
      },
      compile: async (...compile) => {
        const executable: Executable = await device.compile(...compile);
        const submit = executable.submit.bind(executable);
        executable.submit = (...submission) => {
          const { done, times } = submit(...submission);
          const number = ++this.#submissions;
          isLost ||= number === this.loseAt;
          if (isLost || number === this.stallAt) {
            const failed = done.then(() => Promise.reject(isLost ? lost() : stalled()));
            failed.catch(() => {});
            return { done: failed, times };
          }
          return { done, times };
        };
        return executable;
      },
      close: () => {
        this.closed++;
        return device.close();
      },
    };
    return new Proxy(device, {
      get(target, name) {
        const value: unknown = Reflect.get(name in own ? own : target, name, target);
        return typeof value === 'function' && !(name in own) ? (value.bind(target) as unknown) : value;
      },
    });
  }

  /** Loses the device so many submissions from now. */
  loseIn(submissions: number): void {
    this.loseAt = this.#submissions + submissions;
  }

  /** Fails the submission so many from now. */
  stallIn(submissions: number): void {
    this.stallAt = this.#submissions + submissions;
  }
}

async function idsOf(engine: Engine, asked: GenerateRequest = request): Promise<number[]> {
  const ids: number[] = [];
  for await (const { tokens } of engine.generate(asked)) ids.push(...tokens);
  return ids;
}

const { backend } = backends.find(({ name, usable }) => name === 'cpu' && usable) ?? backends[0]!;

describe('an engine whose device is lost', () => {
  it('fails what is in flight or waits, then answers as before, with weights loaded anew', async () => {
    const fragile = new FragileBackend(backend);
    const engine = await Engine.load({ backend: fragile, context: 256, maxSequences: 2 });
    const expected = await idsOf(engine);
    const { deviceId } = engine.backend;
    fragile.loseIn(4);
    // Two run, two wait.
    const failed = await Promise.allSettled([1, 2, 3, 4].map(() => idsOf(engine)));
    for (const one of failed)
      expect(one).toMatchObject({ status: 'rejected', reason: { code: 'device/lost' } });
    expect(fragile.opened).toBe(1);
    // Many ask at once: it is opened once.
    const answers = await Promise.all([idsOf(engine), idsOf(engine), engine.prepare().then(() => expected)]);
    for (const ids of answers) expect(ids).toEqual(expected);
    expect([fragile.opened, fragile.closed]).toEqual([2, 1]);
    expect(engine.backend.deviceId).toBe(deviceId);
    expect(engine.stats().memory.weightBytes).toBeGreaterThan(0);
    await engine.close();
    expect([fragile.opened, fragile.closed]).toEqual([2, 2]);
  });

  it('is not opened anew when a step of it fails alone; what was cached of that step is not used', async () => {
    const fragile = new FragileBackend(backend);
    const engine = await Engine.load({ backend: fragile, context: 256, maxSequences: 2 });
    const expected = await idsOf(engine);
    for (const step of [1, 4]) {
      fragile.stallIn(step);
      await expect(idsOf(engine)).rejects.toMatchObject({ code: 'device/stalled' });
      expect(await idsOf(engine)).toEqual(expected);
    }
    await engine.close();
    expect([fragile.opened, fragile.closed]).toEqual([1, 1]);
  });

  it('is told of by whole sequences, too', async () => {
    const fragile = new FragileBackend(backend);
    const engine = await Engine.load({ backend: fragile, context: 256 });
    const rows = (await engine.forward([[1, 5, 9]], { logits: 'all' }))[0]!.logits!;
    fragile.loseIn(1);
    await expect(engine.forward([[1, 5, 9]], { logits: 'all' })).rejects.toMatchObject({
      code: 'device/lost',
    });
    expect((await engine.forward([[1, 5, 9]], { logits: 'all' }))[0]!.logits).toEqual(rows);
    await engine.close();
  });

  it('says so when the device is lost again while it is opened anew, and tries again for the next', async () => {
    const fragile = new FragileBackend(backend);
    const engine = await Engine.load({ backend: fragile, context: 256 });
    const expected = await idsOf(engine);
    fragile.loseIn(2);
    await expect(idsOf(engine)).rejects.toMatchObject({ code: 'device/lost' });
    fragile.loseAtLoad = true;
    const twice = await Promise.allSettled([idsOf(engine), idsOf(engine)]);
    for (const one of twice) {
      expect(one).toMatchObject({ status: 'rejected', reason: { code: 'device/lost' } });
      expect((one as PromiseRejectedResult).reason.message).toMatch(/again/);
    }
    expect(fragile.opened).toBe(2);
    expect(await idsOf(engine)).toEqual(expected);
    expect([fragile.opened, fragile.closed]).toEqual([3, 2]);
    await engine.close();
    expect(fragile.closed).toBe(3);
  });

  it('can be closed at any time', async () => {
    const fragile = new FragileBackend(backend);
    const engine = await Engine.load({ backend: fragile, context: 256 });
    fragile.loseIn(2);
    await expect(idsOf(engine)).rejects.toMatchObject({ code: 'device/lost' });
    const late = idsOf(engine);
    late.catch(() => {});
    await engine.close();
    await expect(late).rejects.toMatchObject({ code: 'usage/closed' });
    expect(fragile.opened).toBe(fragile.closed);
  });
});

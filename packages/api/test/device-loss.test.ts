/**
 * A device that is lost under an engine: whoever was there goes on on the CPU, or is told where there is no other device,
 * and whoever comes later finds the device opened anew.
 */
import { describe, expect, it, vi } from 'vitest';
import { UnicornError, type Backend, type Device, type Executable } from '@unicorn-exec/tensor';
import { Engine, type BackendSummary, type GenerateRequest, type LoadOptions } from '../src/index.js';
import { backends, largestDifference } from './shared.js';

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
  /** There is no device any more. */
  isGone = false;
  #submissions = 0;

  /** @param deviceBackend the backend of which its devices say that they are; default: those of `inner` */
  constructor(
    private readonly inner: Backend,
    private readonly deviceBackend?: string,
  ) {
    this.name = inner.name;
    this.apiVersion = inner.apiVersion;
    this.probe = () => inner.probe();
    this.planner = (info) => inner.planner(info);
  }

  async open(...given: Parameters<Backend['open']>): Promise<Device> {
    if (this.isGone) throw new UnicornError('device/unavailable', 'There is no such device.');
    const device = await this.inner.open(...given);
    this.opened++;
    let isLost = false;
    const own: Partial<Device> = {
      info: { ...device.info, ...(this.deviceBackend ? { backend: this.deviceBackend } : {}) },
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

describe('an engine whose only device is lost', () => {
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

const vulkan = backends.find(({ name }) => name === 'vulkan')!;

/** Devices that the CPU can replace; in f32 greedy tokens are the same on all of them. */
const replaceable = [
  { name: 'another', inner: backend, usable: true },
  { name: 'vulkan', inner: vulkan.backend, usable: vulkan.usable },
];

/** An engine on such a device, and what it says when another device computes. */
async function loadFragile(
  inner: Backend,
  options: LoadOptions = {},
): Promise<{ fragile: FragileBackend; engine: Engine; moves: BackendSummary[] }> {
  const fragile = new FragileBackend(inner, 'fragile');
  const settings = { context: 256, maxSequences: 2, precision: 'f32', kvType: 'f32' } as const;
  const engine = await Engine.load({ backend: fragile, ...settings, ...options });
  const moves: BackendSummary[] = [];
  engine.on('moved', (summary) => moves.push(summary));
  return { fragile, engine, moves };
}

describe('an engine whose device is lost beside a CPU', () => {
  for (const { name, inner, usable } of replaceable) {
    it.skipIf(!usable)(`goes on there from the tokens, and says so: ${name}`, async () => {
      const { fragile, engine, moves } = await loadFragile(inner);
      const expected = await idsOf(engine);
      const firstId = engine.backend.deviceId;
      expect(engine.backend).toMatchObject({ name: 'fragile' });
      fragile.loseIn(4);
      // Two run, two wait.
      const answers = await Promise.all([1, 2, 3, 4].map(() => idsOf(engine)));
      for (const ids of answers) expect(ids).toEqual(expected);
      expect([fragile.opened, fragile.closed]).toEqual([1, 1]);
      expect(moves).toEqual([engine.backend]);
      expect(engine.backend.name).toBe(backend.name);
      expect(engine.backend.fallback).toEqual({ from: 'fragile', reason: lost().message });
      expect(engine.stats().memory.weightBytes).toBeGreaterThan(0);
      // The next one finds the device opened anew, whoever asks at the same time.
      for (const ids of await Promise.all([idsOf(engine), idsOf(engine)])) expect(ids).toEqual(expected);
      expect([fragile.opened, fragile.closed]).toEqual([2, 1]);
      expect(engine.backend).toMatchObject({ name: 'fragile', deviceId: firstId });
      expect(engine.backend.fallback).toBeUndefined();
      expect(moves.length).toBe(2);
      // Lost a second time it is left alone.
      fragile.loseIn(3);
      expect(await idsOf(engine)).toEqual(expected);
      expect(await idsOf(engine)).toEqual(expected);
      expect([fragile.opened, fragile.closed]).toEqual([2, 2]);
      expect(engine.backend.name).toBe(backend.name);
      await engine.close();
    });
  }

  it('goes on there with all layers, where some ran on the device that was lost', async () => {
    const { fragile, engine, moves } = await loadFragile(backend, { gpuLayers: 6 });
    expect(engine.backend.split!.places.length).toBe(2);
    const expected = await idsOf(engine);
    fragile.loseIn(4);
    for (const ids of await Promise.all([idsOf(engine), idsOf(engine)])) expect(ids).toEqual(expected);
    expect(moves.length).toBe(1);
    expect(engine.backend.split).toBeUndefined();
    expect(engine.backend.name).toBe(backend.name);
    expect(await idsOf(engine)).toEqual(expected);
    expect(engine.backend.split!.places.length).toBe(2);
    await engine.close();
    expect(fragile.opened).toBe(fragile.closed);
  });

  it('stays there where the device cannot be opened any more', async () => {
    const { fragile, engine, moves } = await loadFragile(backend);
    const expected = await idsOf(engine);
    fragile.loseIn(2);
    fragile.isGone = true;
    for (let time = 0; time < 3; time++) expect(await idsOf(engine)).toEqual(expected);
    expect(engine.backend).toMatchObject({ name: backend.name, fallback: { from: 'fragile' } });
    expect(moves.length).toBe(1);
    await engine.close();
    expect([fragile.opened, fragile.closed]).toEqual([1, 1]);
  });

  it('scores whole sequences again', async () => {
    const { fragile, engine } = await loadFragile(backend);
    const rows = (await engine.forward([[1, 5, 9]], { logits: 'all' }))[0]!.logits!;
    fragile.loseIn(1);
    const again = (await engine.forward([[1, 5, 9]], { logits: 'all' }))[0]!.logits!;
    expect(largestDifference(again, rows)).toBeLessThan(1e-2);
    await engine.close();
  });

  it('fails, naming the device, where that is asked for', async () => {
    const { fragile, engine, moves } = await loadFragile(backend, { deviceLoss: 'fail' });
    const expected = await idsOf(engine);
    fragile.loseIn(3);
    await expect(idsOf(engine)).rejects.toMatchObject({ code: 'device/lost' });
    expect(await idsOf(engine)).toEqual(expected);
    expect([fragile.opened, moves.length]).toEqual([2, 0]);
    await engine.close();
  });

  it('fails, naming the device, where the model does not fit there', async () => {
    const { fragile, engine } = await loadFragile(backend);
    const expected = await idsOf(engine);
    const { deviceId } = engine.backend;
    fragile.loseIn(3);
    const available = vi.spyOn(process, 'availableMemory').mockReturnValue(1);
    const failed = await Promise.allSettled([1, 2, 3].map(() => idsOf(engine)));
    available.mockRestore();
    for (const one of failed) {
      expect(one).toMatchObject({
        status: 'rejected',
        reason: {
          code: 'device/lost',
          fields: { device: deviceId },
          cause: { code: 'resource/memory' },
        },
      });
    }
    expect(await idsOf(engine)).toEqual(expected);
    expect(engine.backend.name).toBe('fragile');
    await engine.close();
  });

  it('can be closed meanwhile', async () => {
    const { fragile, engine } = await loadFragile(backend);
    fragile.loseIn(3);
    const reasons: (string | undefined)[] = [];
    const answer = (async () => {
      for await (const { finishReason } of engine.generate(request)) reasons.push(finishReason);
    })();
    while (fragile.closed === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await engine.close();
    await answer;
    expect(reasons.at(-1)).toBe('cancelled');
  });
});

/** Each contract case sees a device that breaks its promise: the reference or the int8 fixture, with one fault each. */
import {
  completionsOf,
  HostBuffer,
  referenceBackend,
  UnicornError,
  type Backend,
  type Binding,
  type Bindings,
  type BufferView,
  type Completion,
  type Device,
  type DeviceBuffer,
  type DeviceInfo,
  type Executable,
  type Planner,
  type SubmitOptions,
  type WeightSet,
} from '@unicorn-exec/tensor';
import { afterEach, describe, expect, it } from 'vitest';
import { createInt8Backend } from '../src/fixture/index.js';
import { contractCases } from '../src/index.js';
import { wrapDevice } from './faulty-backend.js';

const [described] = await referenceBackend.probe();
const { info } = described as { info: DeviceInfo };

interface Fault {
  /** The case that must fail. */
  readonly fails: string;
  /** What the device does. */
  readonly what: string;
  readonly backend: Backend;
  readonly info?: Partial<DeviceInfo>;
  /** What the case ends with. Default: `ConformanceFailure`; `UnicornError` where the device itself says what is wrong. */
  readonly error?: 'UnicornError';
}

/** A backend whose devices have the overrides. */
function faulty(
  overrides: (device: Device) => Partial<Device>,
  base: Backend = referenceBackend,
  backend: Partial<Backend> = {},
): Backend {
  return {
    ...base,
    open: async (id) => {
      const device = await base.open(id);
      return wrapDevice(device, overrides(device));
    },
    ...backend,
  };
}

type Submit = (executable: Executable, bindings: Bindings, options: SubmitOptions) => Completion;

/** A device that submits otherwise. */
function submitting(submit: Submit, base?: Backend): Backend {
  return faulty(
    (device) => ({
      compile: async (...args) => {
        const executable = await device.compile(...args);
        return {
          signature: executable.signature,
          scratchBytes: executable.scratchBytes,
          describe: () => executable.describe(),
          profile: () => executable.profile(),
          dispose: () => executable.dispose(),
          submit: (bindings, options = {}) => submit(executable, bindings, options),
        };
      },
    }),
    base,
  );
}

function mapBuffers(bindings: Bindings, map: (view: BufferView, name: string) => Binding): Bindings {
  const buffers = Object.entries(bindings.buffers).map(([name, binding]): [string, Binding] => {
    if (ArrayBuffer.isView(binding)) return [name, binding];
    return [name, map('buffer' in binding ? binding : { buffer: binding, byteOffset: 0 }, name)];
  });
  return { ...bindings, buffers: Object.fromEntries(buffers) };
}

/** A device that takes buffers for what they are not. */
function mistaking(map: (buffer: DeviceBuffer) => DeviceBuffer): Backend {
  return submitting((executable, bindings, options) =>
    executable.submit(
      mapBuffers(bindings, ({ buffer, byteOffset }) => ({ buffer: map(buffer), byteOffset })),
      options,
    ),
  );
}

const withSync = (buffer: DeviceBuffer, sync: DeviceBuffer['sync']): DeviceBuffer => ({
  byteLength: buffer.byteLength,
  host: buffer.host,
  sync,
  dispose: () => {},
});

const neverSyncing = mistaking((buffer) => withSync(buffer, undefined));
const syncingAll = mistaking((buffer) =>
  withSync(
    buffer,
    buffer.sync &&
      ((direction) => buffer.sync!(direction, [{ byteOffset: 0, byteLength: buffer.byteLength }])),
  ),
);
const neverSyncingBack = mistaking((buffer) =>
  withSync(
    buffer,
    buffer.sync && ((direction, ranges) => direction === 'toHost' && buffer.sync!(direction, ranges)),
  ),
);
const ignoringOffsets = submitting((executable, bindings, options) =>
  executable.submit(
    mapBuffers(bindings, ({ buffer }) => buffer),
    options,
  ),
);

/** Works on a copy of the whole state, and writes all of it back. */
const copyingStates = submitting((executable, bindings, options) => {
  const back: (() => void)[] = [];
  const copied = mapBuffers(bindings, ({ buffer, byteOffset }, name) => {
    if (!(name in executable.signature.state)) return { buffer, byteOffset };
    const range = [{ byteOffset: 0, byteLength: buffer.byteLength }];
    buffer.sync?.('toHost', range);
    const copy = HostBuffer.over(buffer.host!.slice());
    back.push(() => {
      buffer.host!.set(copy.host);
      buffer.sync?.('toDevice', range);
    });
    return { buffer: copy, byteOffset };
  });
  const { done, times } = executable.submit(copied, options);
  return { times, done: done.then(() => back.forEach((write) => write())) };
});

const others = { roles: ['inputs', 'outputs', 'states'] } as const;
const inOthers = (role: string): string => `${role} may lie in memory of other devices`;
const cacheElsewhere = 'a cache is read where another device wrote it';
const disjoint = 'two devices work on disjoint blocks of one state at once';
const hostMemory = 'memory that the host must address has a host, or is refused';
const serving = 'its memory serves other devices in every role';
const importing = 'memory of other devices is imported without a copy, or copied and counted';
const copying = 'copies go to and from other devices';

const foreignFaults: readonly Fault[] = [
  ...[...others.roles.map(inOthers), cacheElsewhere, disjoint].map((fails) => ({
    fails,
    what: 'never synchronizes',
    backend: neverSyncing,
  })),
  ...[...others.roles.map(inOthers), cacheElsewhere, disjoint].map((fails) => ({
    fails,
    what: 'synchronizes whole buffers',
    backend: syncingAll,
  })),
  ...[inOthers('outputs'), inOthers('states'), disjoint].map((fails) => ({
    fails,
    what: 'does not synchronize what it wrote',
    backend: neverSyncingBack,
  })),
  ...[...others.roles.map(inOthers), cacheElsewhere].map((fails) => ({
    fails,
    what: 'takes a view for its buffer',
    backend: ignoringOffsets,
  })),
  { fails: disjoint, what: 'copies whole states to and fro', backend: copyingStates },
  {
    fails: 'a foreign buffer that the host cannot address is refused',
    what: 'takes anything for memory',
    backend: mistaking((buffer) => (buffer.host ? buffer : HostBuffer.allocate(buffer.byteLength, () => {}))),
  },
];

const sharingFaults: readonly Fault[] = [
  {
    fails: hostMemory,
    what: 'gives memory without a host',
    backend: faulty(() => ({
      allocate: (byteLength) => ({ byteLength, dispose: () => {} }),
    })),
  },
  ...[hostMemory, serving].map((fails) => ({
    fails,
    what: 'has a sync that does nothing',
    backend: faulty(
      (device) => ({
        allocate: (...args) => {
          const buffer = device.allocate(...args);
          if (buffer.sync) Object.assign(buffer, { sync: () => {} });
          return buffer;
        },
      }),
      createInt8Backend(),
    ),
  })),
  {
    fails: hostMemory,
    what: 'counts copies of its own memory',
    backend: faulty((device) => ({ memory: () => ({ ...device.memory(), copiedBytes: 1 }) })),
  },
  {
    fails: importing,
    what: 'imports by copying',
    backend: faulty(() => ({
      importBuffer: (memory) => {
        const host = memory instanceof Uint8Array ? memory : memory.host!;
        return HostBuffer.over(host.slice());
      },
    })),
  },
  {
    fails: importing,
    what: 'frees what it imported',
    error: 'UnicornError',
    backend: faulty((device) => ({
      importBuffer: (memory) => {
        const buffer = device.importBuffer(memory);
        const dispose = (): void => {
          if (!(memory instanceof Uint8Array)) memory.dispose();
        };
        return new Proxy(buffer, {
          get: (target, key) => (key === 'dispose' ? dispose : (Reflect.get(target, key, target) as unknown)),
        });
      },
    })),
  },
  {
    fails: importing,
    what: 'does not count what it copies',
    backend: faulty(
      (device) => ({ memory: () => ({ ...device.memory(), copiedBytes: 0 }) }),
      createInt8Backend(),
    ),
  },
  {
    fails: importing,
    what: 'copies more than is touched',
    backend: faulty((device) => {
      const memory: Device['memory'] = () => {
        const use = device.memory();
        return { ...use, copiedBytes: 32 * use.copiedBytes };
      };
      return { memory };
    }, createInt8Backend()),
  },
  {
    fails: copying,
    what: 'never synchronizes',
    backend: faulty((device) => {
      const bare = ({ buffer, byteOffset }: BufferView): BufferView => ({
        buffer: buffer.sync ? withSync(buffer, undefined) : buffer,
        byteOffset,
      });
      return { copy: (from, to, ...rest) => device.copy(bare(from), bare(to), ...rest) };
    }),
  },
  {
    fails: copying,
    what: 'synchronizes whole buffers',
    backend: faulty((device) => {
      const whole = ({ buffer, byteOffset }: BufferView): BufferView => ({
        buffer: buffer.sync
          ? withSync(buffer, (direction) =>
              buffer.sync!(direction, [{ byteOffset: 0, byteLength: buffer.byteLength }]),
            )
          : buffer,
        byteOffset,
      });
      return { copy: (from, to, ...rest) => device.copy(whole(from), whole(to), ...rest) };
    }),
  },
  {
    fails: 'impossible copies are refused',
    what: 'copies over the source',
    backend: faulty((device) => ({
      copy: (from, to, byteLength, options) => {
        const { host } = from.buffer;
        const apart = { ...from, buffer: host ? HostBuffer.over(Uint8Array.from(host)) : from.buffer };
        return device.copy(apart, to, byteLength, options);
      },
    })),
  },
  {
    fails: 'what a device imports must have a host',
    what: 'imports anything',
    backend: faulty((device) => ({
      importBuffer: (memory) => device.allocate(memory.byteLength),
    })),
  },
];

const settled: Completion = { done: Promise.resolve(), times: () => [] };

const completionFaults: readonly Fault[] = [
  {
    fails: 'a submission waits for another device',
    what: 'does not wait',
    backend: submitting((executable, bindings) => executable.submit(bindings)),
  },
  {
    fails: 'an input may be what another device is still computing',
    what: 'copies foreign inputs when they are bound',
    backend: submitting((executable, bindings, options) =>
      executable.submit(
        mapBuffers(bindings, ({ buffer, byteOffset }, name) =>
          name in executable.signature.inputs
            ? { buffer: HostBuffer.over(buffer.host!.slice()), byteOffset }
            : { buffer, byteOffset },
        ),
        options,
      ),
    ),
  },
  {
    fails: 'a submission waits for all that it is given',
    what: 'waits for the first alone',
    backend: submitting((executable, bindings, options) =>
      executable.submit(bindings, { after: completionsOf(options).slice(0, 1) }),
    ),
  },
  {
    fails: 'what waits for a failure fails with it, and nothing else does',
    what: 'does not mind failures',
    backend: submitting((executable, bindings, options) =>
      executable.submit(bindings, {
        after: completionsOf(options).map(({ done, times }) => ({ times, done: done.catch(() => {}) })),
      }),
    ),
  },
  {
    fails: 'what waits for a failure fails with it, and nothing else does',
    what: 'fails with an error of its own',
    backend: submitting((executable, bindings, options) => {
      const { done, times } = executable.submit(bindings, options);
      const own = done.catch(() => {
        throw new UnicornError('device/lost', 'Something failed.', { fields: { device: 'reference' } });
      });
      own.catch(() => {});
      return { times, done: own };
    }),
  },
  {
    fails: 'what waits for a failed submission fails with its error',
    what: 'does not mind failures',
    backend: submitting((executable, bindings, options) =>
      executable.submit(bindings, { after: completionsOf(options).map(() => settled) }),
    ),
  },
  ...(
    [
      ['tells no times', () => []],
      ['tells times of another clock', () => [{ device: 'reference', beginMs: 1e12, endMs: 1e12 }]],
      ['tells times of another device', () => [{ device: 'gpu', beginMs: performance.now(), endMs: 1e9 }]],
      ['tells times backwards', () => [{ device: 'reference', beginMs: 9, endMs: 8 }]],
    ] as const
  ).map(([what, times]): Fault => {
    return {
      fails: 'times lie between submission and end, in order, of the device',
      what,
      backend: submitting((executable, bindings, options) => ({
        done: executable.submit(bindings, options).done,
        times: () => [...times()],
      })),
    };
  }),
  {
    fails: 'a copy waits, and keeps its place in the queue',
    what: 'copies at once',
    backend: faulty(() => ({
      copy: (from, to, byteLength) => {
        const source = from.buffer.host!.subarray(from.byteOffset, from.byteOffset + byteLength);
        to.buffer.host!.set(source, to.byteOffset);
        return settled;
      },
    })),
  },
  {
    fails: 'a copy waits, and keeps its place in the queue',
    what: 'copies without waiting for others',
    backend: faulty((device) => ({ copy: (from, to, byteLength) => device.copy(from, to, byteLength) })),
  },
  {
    fails: 'a profile counts the steps and names the device',
    what: 'profiles without a device',
    backend: faulty((device) => ({
      compile: async (...args) => {
        const executable = await device.compile(...args);
        const profile = executable.profile.bind(executable);
        return Object.assign(executable, {
          profile: () => profile().map((entry) => ({ ...entry, device: '' })),
        });
      },
    })),
  },
  {
    fails: 'a precision that the device lacks is refused',
    what: 'compiles for any precision',
    backend: faulty((device) => ({ info: { ...device.info, precisions: ['fast'] } })),
    info: { precisions: ['fast'] },
  },
  {
    fails: 'an executable reads several sets',
    what: 'reads the first set alone',
    error: 'UnicornError',
    backend: faulty((device) => ({
      compile: (graph, weights, options) =>
        device.compile(graph, 'names' in weights ? weights : weights[0]!, options),
    })),
  },
  {
    fails: 'an executable reads several sets',
    what: 'takes the first of two weights of one name',
    backend: faulty((device) => ({
      compile: async (graph, weights, options) => {
        if ('names' in weights || weights.length < 2) return device.compile(graph, weights, options);
        const [first, second] = weights as [WeightSet, WeightSet];
        const doubled = first.names.some((name) => second.names.includes(name));
        return device.compile(graph, doubled ? second : weights, options);
      },
    })),
  },
  {
    fails: 'weights that the device did not load are refused',
    what: 'takes them for its own',
    backend: faulty((device) => ({
      compile: async (graph, _weights, options) => {
        const bytes = new Uint8Array(256);
        const own = await device.load([
          { name: 'w', dtype: 'f32', shape: [2, 32], source: { kind: 'bytes', bytes } },
        ]);
        return device.compile(graph, own, options);
      },
    })),
  },
];

/** A backend that plans otherwise. */
function planning(plan: (own: Planner, info: DeviceInfo) => Partial<Planner>): Backend {
  return {
    ...referenceBackend,
    probe: async () => [{ id: info.id, name: info.name, usable: true, info }],
    planner: (info) => {
      const own = referenceBackend.planner(info);
      const { supports = own.supports.bind(own), estimate = own.estimate.bind(own) } = plan(own, info);
      return { supports, estimate };
    },
  };
}

const answering = 'a planner answers as the device, also from a file';
const estimating = 'an estimate is positive and grows with the tokens';
let turn = 0;

const plannerFaults: readonly Fault[] = [
  {
    fails: answering,
    what: 'answers otherwise than the device',
    backend: planning(() => ({ supports: () => ({ ok: false, reason: 'not today' }) })),
  },
  {
    fails: answering,
    what: 'answers otherwise when asked again',
    backend: planning(() => ({ supports: () => ({ ok: false, reason: String(turn++) }) })),
  },
  {
    fails: answering,
    what: 'knows its own description by identity',
    backend: planning((own, given) => ({
      supports: (...args) =>
        given === info ? own.supports(...args) : { ok: false, reason: 'some other device' },
    })),
  },
  ...(
    [
      ['estimates nothing', () => 0],
      ['estimates NaN', () => NaN],
      ['estimates less for more', (tokens: number) => 1 / tokens],
      ['estimates the same for all', () => 1],
      ['estimates otherwise when asked again', () => ++turn],
    ] as const
  ).map(([what, seconds]): Fault => {
    return {
      fails: estimating,
      what,
      backend: planning((own) => ({
        estimate: (segment, options) => ({
          ...own.estimate(segment, options),
          seconds: seconds(options.dims.tokens!),
        }),
      })),
    };
  }),
  {
    fails: estimating,
    what: 'estimates otherwise from a file',
    backend: planning((own, given) => ({
      estimate: (segment, options) => {
        const estimate = own.estimate(segment, options);
        return given === info ? estimate : { ...estimate, seconds: 2 * estimate.seconds };
      },
    })),
  },
  {
    fails: estimating,
    what: 'estimates without dims',
    backend: planning((own) => ({
      estimate: (segment, options) =>
        own.estimate(segment, { ...options, dims: { tokens: 9, ...options.dims } }),
    })),
  },
];

const heap = { name: 'memory', bytes: 1e9, hostVisible: true };

const infoFaults: readonly Fault[] = [
  ['has a heap without a pool', { heaps: [{ ...heap, pool: '' }] }],
  ['has no heap', { heaps: [] }],
  ['has no precision', { precisions: [] }],
  ['does not say how it stores activations', { activations: { f32: info.activations.f32! } }],
  [
    'quantizes at precision f32',
    { activations: { ...info.activations, f32: { kind: 'int8', scale: 'row' } } },
  ],
  ['packs weights at precision f32', { packedWeights: { f32: { kind: 'int8', scale: 'row' } } }],
  ['has numerics without a name', { numerics: { prompt: 'a', token: '' } }],
  ['has buckets out of order', { rows: { kind: 'buckets', buckets: [8, 4] } }],
].map(([what, changed]): Fault => {
  return {
    fails: 'info is sane',
    what: what as string,
    backend: referenceBackend,
    info: changed as Partial<DeviceInfo>,
  };
});

const nameless: Fault = {
  fails: 'close is idempotent and ends everything',
  what: 'does not name itself in its errors',
  backend: faulty((device) => {
    let closed = false;
    return {
      close: async () => {
        closed = true;
        await device.close();
      },
      load: async (...args) => {
        if (closed) throw new UnicornError('device/closed', 'The device was closed.');
        return device.load(...args);
      },
    };
  }),
};

describe('a device that', () => {
  const opened: Device[] = [];
  afterEach(async () => {
    for (const device of opened.splice(0)) await device.close().catch(() => {});
  });

  it.each(
    [...foreignFaults, ...sharingFaults, ...completionFaults, ...plannerFaults, ...infoFaults, nameless].map(
      (fault) => [fault.what, fault.fails, fault] as const,
    ),
  )('%s fails "%s"', async (_what, fails, fault) => {
    const test = contractCases.find(({ name }) => name === fails);
    expect(test, `There is no case "${fails}".`).toBeDefined();
    const [own] = await fault.backend.probe();
    const base = (own as { info: DeviceInfo }).info;
    // The very object of the probe, where nothing is changed.
    const context = {
      backend: fault.backend,
      id: base.id,
      info: fault.info ? { ...base, ...fault.info } : base,
    };
    await expect(test!.run(context)).rejects.toMatchObject({
      name: fault.error ?? 'ConformanceFailure',
    });
  });
});

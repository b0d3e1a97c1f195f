/** Registers the suite with vitest. The only file that knows a test framework, and it loads it when called. */
import { type Backend, type Device, type DeviceDescription } from '@unicorn-exec/tensor';
import type { Case, Precision } from './case.js';
import { conformanceCases } from './cases/index.js';
import { contractCases } from './contract.js';
import { rowInvariance, runInvariance, type InvarianceCase } from './invariance.js';
import { scenarioInvariances } from './scenario.js';
import { runCase, unsupportedReason } from './run.js';

export interface ConformanceOptions {
  /** Device to open; the first usable one by default. */
  readonly device?: string;
  /** Both by default. */
  readonly precisions?: readonly Precision[];
  /** Numbers of threads whose results must be the same; `[1, 2]` by default for a device that has threads. */
  readonly threads?: readonly number[];
  /**
   * What the backend will never do, by case name or by its beginning (`sample`, `kvWrite q8_0`), with the reason. A case
   * that the device refuses and that is not declared here fails; so does one that is declared and not refused.
   */
  readonly unsupported?: Readonly<Record<string, string>>;
  /** What does not work yet, by case name or its beginning, with the reason. Such a case must fail: a pass fails. */
  readonly expectedFailures?: Readonly<Record<string, string>>;
  /** Only cases whose name matches, for debugging. */
  readonly only?: RegExp;
}

/** The declared reason for a case: its whole name, or words at its beginning. */
function declared(table: Readonly<Record<string, string>> | undefined, name: string): string | undefined {
  const key = Object.keys(table ?? {}).find((prefix) => name === prefix || name.startsWith(`${prefix} `));
  return key === undefined ? undefined : table![key];
}

/** Runs what must fail. @throws Error when it passes */
async function expectFailure(run: () => Promise<unknown>, reason: string): Promise<void> {
  try {
    await run();
  } catch {
    return;
  }
  throw new Error(
    `This passes although it is declared an expected failure (${reason}): remove the declaration.`,
  );
}

async function chooseDevice(backend: Backend, id: string | undefined): Promise<DeviceDescription> {
  const devices = await backend.probe();
  const wanted = devices.filter((device) => id === undefined || device.id === id);
  return (
    wanted.find(({ usable }) => usable) ??
    wanted[0] ?? { id: id ?? 'none', name: 'no device', usable: false, reason: 'the probe lists none' }
  );
}

/**
 * Registers the conformance suite of a backend as vitest tests: contract, every case at every precision, invariance.
 * Await it at the top level of a test file. When the machine has no usable device the suite is one skipped test that
 * says why.
 *
 * @example
 * import { conformBackend } from '@unicorn-exec/conformance';
 * import { cpuBackend } from '../src/index.js';
 *
 * await conformBackend(cpuBackend, { unsupported: { 'matmul tq1_0': 'no kernel for ternary weights' } });
 */
export async function conformBackend(backend: Backend, options: ConformanceOptions = {}): Promise<void> {
  const { afterAll, describe, it } = await import('vitest');
  const description = await chooseDevice(backend, options.device);
  const title = `${backend.name}: ${description.name}`;
  if (!description.usable) {
    describe(title, () => it.skip(`not usable here: ${description.reason}`, () => {}));
    return;
  }
  const { info, id } = description;
  const threads = options.threads ?? (info.threads === undefined ? [] : [1, 2]);
  const selected = <T extends { readonly name: string }>(list: readonly T[]): T[] =>
    list.filter(({ name }) => options.only?.test(name) ?? true);
  const cases = selected(conformanceCases(info));
  const invariances = selected([
    ...cases.map(rowInvariance).filter((test) => test !== undefined),
    ...scenarioInvariances(info),
  ]);

  const opened = new Map<string, Promise<Device>>();
  const device = (count?: number): Promise<Device> => {
    const key = String(count);
    const known = opened.get(key) ?? backend.open(id, count === undefined ? {} : { threads: count });
    opened.set(key, known);
    return known;
  };
  /** Skips, expects a failure, or runs. */
  const check = async (
    test: Pick<Case, 'name'>,
    refused: string | undefined,
    skip: (reason: string) => void,
    run: () => Promise<unknown>,
  ): Promise<void> => {
    const permanent = declared(options.unsupported, test.name);
    if (refused !== undefined) {
      if (permanent !== undefined) return skip(`unsupported: ${permanent} (${refused})`);
      throw new Error(`The device refuses this (${refused}), which is not declared in options.unsupported.`);
    }
    if (permanent !== undefined) {
      throw new Error(`Declared unsupported (${permanent}), but the device does not refuse it.`);
    }
    const temporary = declared(options.expectedFailures, test.name);
    await (temporary === undefined ? run() : expectFailure(run, temporary));
  };

  describe(title, () => {
    afterAll(async () => {
      for (const open of opened.values()) await (await open).close();
    });

    describe('contract', () => {
      for (const test of selected(contractCases)) {
        it(test.name, async () => {
          const temporary = declared(options.expectedFailures, test.name);
          const run = (): Promise<void> => test.run({ backend, id, info });
          await (temporary === undefined ? run() : expectFailure(run, temporary));
        });
      }
    });

    for (const precision of options.precisions ?? (['f32', 'fast'] as const)) {
      describe(precision, () => {
        for (const test of cases) {
          if (test.precisions && !test.precisions.includes(precision)) continue;
          it(test.name, async ({ skip }) => {
            const target = await device();
            await check(test, unsupportedReason(target, test), skip, () => runCase(target, test, precision));
          });
        }
        for (const test of invariances) {
          it(test.name, async ({ skip }) => {
            const devices = [
              { name: 'the device', device: await device() },
              ...(await Promise.all(
                threads.map(async (count) => ({ name: `${count} threads`, device: await device(count) })),
              )),
            ];
            const refused = invarianceRefused(devices[0]!.device, test);
            await check(test, refused, skip, () => runInvariance(devices, test, precision));
          });
        }
      });
    }
  });
}

function invarianceRefused(device: Device, test: InvarianceCase): string | undefined {
  const { graph } = test.make().variants[0]!.steps[0]!.problem;
  for (const node of graph.nodes) {
    const support = device.supports(node, graph);
    if (!support.ok) return `${node.op}: ${support.reason}`;
  }
  return undefined;
}

/** Registers the suite with vitest. No other file knows a test framework; this one loads it when called. */
import type { Backend, Device, DeviceDescription, Precision } from '@unicorn-exec/tensor';
import { conformanceCases } from './cases/index.js';
import { contractCases } from './contract/index.js';
import { runDeclared, type Declarations } from './declaration.js';
import { rowInvariance, runInvariance, type InvarianceCase } from './invariance.js';
import { scenarioInvariances } from './scenario.js';
import { keepsNonFinite, productFormat } from './product-format.js';
import { runCase, unsupportedReason } from './run.js';

export interface ConformanceOptions extends Declarations {
  /** Device to open; the first usable one by default. */
  readonly device?: string;
  /** Precisions to run; those of the device by default. One that the device lacks is left out. */
  readonly precisions?: readonly Precision[];
  /** Numbers of threads whose results must be the same; `[1, 2]` by default for a device that has threads. */
  readonly threads?: readonly number[];
  /** Only cases whose name matches, for debugging. */
  readonly only?: RegExp;
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
 * await conformBackend(cpuBackend, { unsupported: { 'sample *': 'the host samples' } });
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
  describe(title, () => {
    afterAll(async () => {
      for (const open of opened.values()) await open.then((target) => target.close()).catch(() => {});
    });

    const contract = selected(contractCases);
    describe.runIf(contract.length > 0)('contract', () => {
      for (const test of contract) {
        const context = { backend, id, info };
        it(test.name, ({ skip }) =>
          runDeclared(options, [test.name], test.refused(context), skip, () => test.run(context)),
        );
      }
    });

    const precisions = info.precisions.filter((own) => options.precisions?.includes(own) ?? true);
    for (const precision of precisions) {
      const format = productFormat(info, precision);
      const names = ({ name }: { readonly name: string }): string[] => [name, `${precision}: ${name}`];
      describe.runIf(cases.length + invariances.length > 0)(precision, () => {
        for (const test of cases) {
          if (test.nonFinite && !keepsNonFinite(format)) continue;
          it(test.name, async ({ skip }) => {
            const target = await device();
            const refused = unsupportedReason(target, test, precision);
            await runDeclared(options, names(test), refused, skip, () => runCase(target, test, precision));
          });
        }
        for (const test of invariances) {
          it(test.name, async ({ skip }) => {
            const devices = [{ name: 'the device', device: await device() }];
            for (const count of threads) {
              devices.push({ name: `${count} threads`, device: await device(count) });
            }
            const refused = invarianceRefused(devices[0]!.device, test, precision);
            await runDeclared(options, names(test), refused, skip, () =>
              runInvariance(devices, test, precision),
            );
          });
        }
      });
    }
  });
}

function invarianceRefused(device: Device, test: InvarianceCase, precision: Precision): string | undefined {
  const { graph } = test.make().variants[0]!.steps[0]!.problem;
  for (const node of graph.nodes) {
    const support = device.supports(node, graph, { precision });
    if (!support.ok) return `${node.op}: ${support.reason}`;
  }
  return undefined;
}

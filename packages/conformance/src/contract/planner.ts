/** Cases about planners: they answer from a device's description alone as the open device does. */
import { symbolicDims, type Graph, type Planner, type Precision } from '@unicorn-exec/tensor';
import {
  expectError,
  expectThat,
  onDevice,
  withPrograms,
  type ContractCase,
  type ContractContext,
} from './contract-case.js';
import { cacheWrite, contractPrecision, doubling, failing, product, type Program } from './program.js';

/** Every program of the cases, whether or not the device supports it. */
function allPrograms({ info }: ContractContext): Program[] {
  return [doubling, product(2), failing, cacheWrite].flatMap((need) => [...need.options(info)]);
}

/** The planner of a description that has been through a file. */
function storedPlanner({ backend, info }: ContractContext): Planner {
  return backend.planner(JSON.parse(JSON.stringify(info)));
}

function answers(
  supports: Planner['supports'],
  context: ContractContext,
  dims?: Readonly<Record<string, number>>,
): string {
  return allPrograms(context)
    .flatMap(({ graph, name }) =>
      (['f32', 'fast'] as const).flatMap((precision) =>
        graph.nodes.map((node) => {
          const support = supports(node, graph, { precision, ...(dims ? { dims } : {}) });
          return `${name} at ${precision}: ${support.ok ? 'yes' : support.reason}`;
        }),
      ),
    )
    .join('\n');
}

function firstDifference(a: string, b: string): string {
  const [left, right] = [a.split('\n'), b.split('\n')];
  const at = left.findIndex((line, i) => line !== right[i]);
  return `"${left[at]}" and "${right[at]}"`;
}

function estimateOf(planner: Planner, graph: Graph, precision: Precision, tokens: number) {
  const dims = Object.fromEntries(symbolicDims(graph).map((dim) => [dim, dim === 'tokens' ? tokens : 16]));
  return planner.estimate({ graph, nodes: graph.nodes.map(({ id }) => id) }, { precision, dims });
}

/** None of these is a graph, a node, options or the ids of nodes. */
const junk: readonly unknown[] = [
  undefined,
  null,
  7,
  'x',
  Symbol('s'),
  () => {},
  [],
  [null],
  { nodes: [{}] },
];

export const plannerCases: readonly ContractCase[] = [
  withPrograms(
    'what is not a graph, a node or options is refused',
    { doubling },
    async ({ doubling: { graph } }, context) => {
      const precision = contractPrecision(context.info);
      const dims = Object.fromEntries(symbolicDims(graph).map((dim) => [dim, 1]));
      const [options, nodes, node] = [{ precision, dims }, graph.nodes.map(({ id }) => id), graph.nodes[0]!];
      const planner = context.backend.planner(context.info);
      const device = await context.backend.open(context.id);
      const weights = await device.load([]);
      const calls: Record<string, (value: never) => unknown> = {
        'supports(value)': (value) => planner.supports(value, graph, options),
        'supports(, value)': (value) => planner.supports(node, value, options),
        'device.supports(, value)': (value) => device.supports(node, value, options),
        'estimate(value)': (value) => planner.estimate(value, options),
        'estimate({graph: value})': (value) => planner.estimate({ graph: value, nodes }, options),
        'estimate({nodes: [value]})': (value) => planner.estimate({ graph, nodes: [value] }, options),
        'compile(value)': (value) => device.compile(value, weights, { dims }),
        'compile({nodes: value})': (value) => device.compile({ ...graph, nodes: value }, weights, { dims }),
        'compile({values: value})': (value) => device.compile({ ...graph, values: value }, weights, { dims }),
      };
      for (const [call, run] of Object.entries(calls)) {
        for (const value of junk) {
          // The list of no nodes is one.
          if (call === 'compile({nodes: value})' && Array.isArray(value) && value.length === 0) continue;
          await expectError(`${call} with ${String(value)}`, 'usage/graph', () => run(value as never));
        }
      }
      for (const value of [undefined, null, 7, 'x', Symbol('s')] as never[]) {
        const said = `options ${String(value)}`;
        await expectError(said, 'usage/option', () => planner.supports(node, graph, value));
        await expectError(said, 'usage/option', () => planner.estimate({ graph, nodes }, value));
        await expectError(said, 'usage/option', () => device.compile(graph, weights, value));
        await expectError(`dims of ${said}`, 'usage/dims', () =>
          device.compile(graph, weights, { dims: value }),
        );
        await expectError(`dims of ${said}`, 'usage/dims', () =>
          planner.estimate({ graph, nodes }, { precision, dims: value }),
        );
        if (value === undefined) continue;
        const support = planner.supports(node, graph, { precision: value });
        expectThat(!support.ok, `Precision ${String(value)} is supported.`);
      }
      weights.dispose();
      await device.close();
    },
  ),
  onDevice('a planner answers as the device, also from a file', {}, async (device, _, context) => {
    const own = context.backend.planner(context.info);
    for (const dims of [undefined, { tokens: 3, pool: 9 }]) {
      const of = (planner: Pick<Planner, 'supports'>) =>
        answers((node, graph, options) => planner.supports(node, graph, options), context, dims);
      const opened = of(device);
      for (const [what, given] of [
        ['the device', opened],
        ['the planner asked again', of(own)],
        ['the planner of a stored description', of(storedPlanner(context))],
      ] as const) {
        const told = of(own);
        expectThat(told === given, `The planner and ${what} differ: ${firstDifference(told, given)}.`);
      }
    }
  }),
  withPrograms(
    'an estimate is positive and grows with the tokens',
    { doubling },
    async (programs, context) => {
      const precision = contractPrecision(context.info);
      const [planner, stored] = [context.backend.planner(context.info), storedPlanner(context)];
      const { graph } = programs.doubling;
      let last = 0;
      for (const tokens of [1, 2, 7, 64, 512, 4096]) {
        const estimate = estimateOf(planner, graph, precision, tokens);
        const { seconds, bytes, limit, basis } = estimate;
        const said = `${seconds} s and ${bytes} bytes for ${tokens} tokens`;
        expectThat(seconds > 0 && Number.isFinite(seconds), `An estimate of ${said}.`);
        expectThat(bytes > 0 && Number.isFinite(bytes), `An estimate of ${said}.`);
        expectThat(['compute', 'memory', 'launch'].includes(limit), `An estimate is limited by "${limit}".`);
        expectThat(['measured', 'modelled'].includes(basis), `An estimate stands on "${basis}".`);
        expectThat(seconds >= last, `${said} is less than for fewer tokens (${last} s).`);
        last = seconds;
        for (const [what, other] of [
          ['asked again', planner],
          ['of a stored description', stored],
        ] as const) {
          const again = estimateOf(other, graph, precision, tokens);
          const same = JSON.stringify(again) === JSON.stringify(estimate);
          expectThat(same, `The planner ${what} estimates ${JSON.stringify(again)} instead of ${said}.`);
        }
      }
      expectThat(
        last > estimateOf(planner, graph, precision, 1).seconds,
        'As much for 4,096 tokens as for one.',
      );
      const nodes = graph.nodes.map(({ id }) => id);
      await expectError('estimate without dims', 'usage/dims', () =>
        planner.estimate({ graph, nodes }, { precision, dims: {} }),
      );
    },
  ),
];

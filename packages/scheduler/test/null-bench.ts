/** A scheduler on the null device, which computes nothing: what is submitted is looked at, what comes back is made up. */
import { createNullBackend, type NullSubmission } from '@unicorn-exec/tensor';
import { Scheduler, type SchedulerOptions } from '../src/index.js';
import { runningAhead } from './running-ahead.js';
import { ToyModel } from './toy-model.js';

/** The inputs of a submission by name, as they are when its turn has come, and where its sampled ids go. */
export interface Seen {
  /** Name of the graph: the model's and the program's. */
  readonly program: string;
  readonly dims: Readonly<Record<string, number>>;
  readonly inputs: Readonly<Record<string, number[]>>;
  readonly sampled: Int32Array;
  /** Whether the ids are taken from a buffer. */
  readonly follows: boolean;
}

function look({ graph, dims, bindings }: NullSubmission): Seen {
  const inputs: Record<string, number[]> = {};
  let sampled: Int32Array = new Int32Array(0);
  let follows = false;
  for (const { name, dtype, source, shape } of bindings) {
    if (source.kind === 'host') {
      const { buffer } = source.bytes;
      inputs[name] = [...(dtype === 'f32' ? new Float32Array(buffer) : new Int32Array(buffer))];
    } else if (name === 'ids') {
      const { buffer, byteOffset } = source.buffer.host!;
      inputs[name] = [...new Int32Array(buffer, byteOffset, shape[0])];
      follows = true;
    } else if (name === 'sampled') {
      const { buffer, byteOffset } = source.buffer.host!;
      sampled = new Int32Array(buffer, byteOffset, shape[0]);
    }
  }
  return { program: graph.name, dims, inputs, sampled, follows };
}

export interface NullBench {
  readonly scheduler: Scheduler;
  readonly seen: Seen[];
  /** Runs inside each submission: what it returns is awaited, what it throws fails the submission. */
  hook: (seen: Seen) => void | Promise<void>;
}

export async function nullBench(
  options: Partial<SchedulerOptions> = {},
  model = new ToyModel(),
  ahead = false,
): Promise<NullBench> {
  const backend = createNullBackend({
    onSubmit(submission) {
      const seen = look(submission);
      bench.seen.push(seen);
      return bench.hook(seen);
    },
  });
  const device = ahead ? runningAhead(await backend.open()) : await backend.open();
  const weights = await device.load(model.weights);
  const scheduler = await Scheduler.create({ device, weights, model, blockTokens: 4, ...options });
  const bench: NullBench = { scheduler, seen: [], hook: () => {} };
  return bench;
}

/** A gate that a submission waits at. */
export function gate(): {
  readonly reached: Promise<void>;
  readonly wait: () => Promise<void>;
  readonly open: () => void;
} {
  let open!: () => void;
  let reach!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  const reached = new Promise<void>((resolve) => (reach = resolve));
  return {
    reached,
    open,
    wait() {
      reach();
      return opened;
    },
  };
}

/** Small graphs that tests of the device submit, and what they share. */
import {
  GraphBuilder,
  type Completion,
  type Device,
  type Executable,
  type Graph,
} from '@unicorn-exec/tensor';
import { randomBytes, randomSource } from './fixture.js';

/** y = x * 2, f32 [n, 4] */
export function doubling(): Graph {
  const b = new GraphBuilder('doubling');
  b.output('y', b.scale(b.input('x', 'f32', ['n', 4]), 2));
  return b.build();
}

export async function compileDoubling(on: Device): Promise<Executable> {
  return on.compile(doubling(), await on.load([]), { dims: { n: { max: 8 } } });
}

/** Rows of `heavy`: enough products that a submission takes some milliseconds. */
export const heavyRows = 256;
export const heavyBytes = heavyRows * 512 * 4;

function heavy(): Graph {
  const b = new GraphBuilder('heavy');
  let x = b.input('x', 'f32', ['n', 512]);
  const weight = b.weight('w', { dtype: 'q8_0', shape: [512, 512] });
  for (let i = 0; i < 8; i++) x = b.softcap(b.matmul(x, weight), 1);
  b.output('y', x);
  return b.build();
}

export async function compileHeavy(on: Device): Promise<Executable> {
  const bytes = randomBytes('q8_0', 512 * 512, randomSource(5));
  const weights = await on.load([
    { name: 'w', dtype: 'q8_0', shape: [512, 512], source: { kind: 'bytes', bytes } },
  ]);
  return on.compile(heavy(), weights, { dims: { n: { max: heavyRows } } });
}

/** Ids to rows of a table `[2, 4]` of ones: an id beyond 1 fails the submission. */
export async function compileLookup(on: Device): Promise<Executable> {
  const b = new GraphBuilder('lookup');
  b.output('y', b.embed(b.input('ids', 'i32', ['n']), b.weight('t', { dtype: 'f32', shape: [2, 4] })));
  const bytes = new Uint8Array(new Float32Array(8).fill(1).buffer);
  const weights = await on.load([
    { name: 't', dtype: 'f32', shape: [2, 4], source: { kind: 'bytes', bytes } },
  ]);
  return on.compile(b.build(), weights, { dims: { n: 1 } });
}

/** A completion of some other device, which ends when the test says so. */
export class ManualCompletion implements Completion {
  resolve!: () => void;
  reject!: (failure: Error) => void;
  readonly done = new Promise<void>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });

  times(): readonly [] {
    return [];
  }
}

export function floats(bytes: Uint8Array): number[] {
  return [...new Float32Array(bytes.slice().buffer)];
}

export function bytesOf(...values: readonly number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** Cases about what a submission waits for, on this and other devices, and about the times that it tells. */
import { isUnicornError, referenceBackend, type Completion, type SubmitOptions } from '@unicorn-exec/tensor';
import {
  compileProgram,
  expectError,
  expectNumbers,
  expectThat,
  onDevice,
  ramp,
  readFloats,
  rowByteLength,
  type ContractCase,
} from './contract-case.js';
import { doubling, failing, width } from './program.js';

const oneRow = { tokens: 1 };

/** A completion that the case settles itself, as one of another package's device would be. */
function openCompletion(): { completion: Completion; end(): void; fail(error: Error): void } {
  let [end, fail]: [() => void, (error: Error) => void] = [() => {}, () => {}];
  const done = new Promise<void>((resolve, reject) => ([end, fail] = [resolve, reject]));
  return { completion: { done, times: () => [] }, end: () => end(), fail: (error) => fail(error) };
}

/** True when the completion has settled by the time that a turn of the event loop and some have passed. */
async function hasEnded({ done }: Completion, milliseconds: number): Promise<boolean> {
  const ended = done.then(
    () => true,
    () => true,
  );
  const late = new Promise<false>((resolve) => setTimeout(() => resolve(false), milliseconds));
  return Promise.race([ended, late]);
}

export const completionCases: readonly ContractCase[] = [
  onDevice(
    'a submission waits for another device',
    { doubling },
    async (device, programs, { backend, id }) => {
      const other = await backend.open(id);
      try {
        const here = await compileProgram(device, programs.doubling);
        const there = await compileProgram(other, programs.doubling);
        const [far, near] = [other.allocate(rowByteLength), device.allocate(rowByteLength)];
        const wait = openCompletion();
        const first = there.executable.submit(
          { dims: oneRow, buffers: { x: ramp(), y: far } },
          { after: wait.completion },
        );
        const second = here.executable.submit(
          { dims: oneRow, buffers: { x: ramp(), y: near } },
          { after: first },
        );
        const order: string[] = [];
        const both = Promise.all([
          first.done.then(() => order.push('first')),
          second.done.then(() => order.push('second')),
        ]);
        expectThat(!(await hasEnded(second, 20)), 'It did not wait for the other device.');
        wait.end();
        await both;
        expectThat(order.join() === 'first,second', `The order was ${order.join()}.`);
        here.dispose();
        there.dispose();
      } finally {
        await other.close();
      }
    },
  ),
  onDevice(
    'an input may be what another device is still computing',
    { doubling },
    async (device, programs) => {
      const other = await referenceBackend.open();
      try {
        const here = await compileProgram(device, programs.doubling);
        const there = await compileProgram(other, doubling.options(other.info)[0]!);
        const [far, near] = [other.allocate(rowByteLength), device.allocate(rowByteLength)];
        for (const value of [1, 5]) {
          const wait = openCompletion();
          const first = there.executable.submit(
            { dims: oneRow, buffers: { x: ramp(value), y: far } },
            { after: wait.completion },
          );
          const second = here.executable.submit(
            { dims: oneRow, buffers: { x: far, y: near } },
            { after: first },
          );
          wait.end();
          await second.done;
          expectNumbers('elsewhere', await readFloats(other, far, width), ramp(2 * value));
          expectNumbers('here', await readFloats(device, near, width), ramp(4 * value));
        }
        here.dispose();
        there.dispose();
      } finally {
        await other.close();
      }
    },
  ),
  onDevice('a submission waits for all that it is given', { doubling }, async (device, programs) => {
    const { executable, dispose } = await compileProgram(device, programs.doubling);
    const y = device.allocate(rowByteLength);
    const waits = [openCompletion(), openCompletion(), openCompletion()];
    const after = waits.map(({ completion }) => completion);
    const submission = executable.submit({ dims: oneRow, buffers: { x: ramp(), y } }, { after });
    waits[2]!.end();
    waits[0]!.end();
    expectThat(!(await hasEnded(submission, 20)), 'The submission did not wait for the second of three.');
    expectThat(submission.times().length === 0, 'The submission has times before it ended.');
    waits[1]!.end();
    await submission.done;
    expectNumbers('y', await readFloats(device, y, width), ramp(2));
    // What has ended already holds nothing up, nor does an empty list.
    await executable.submit({ dims: oneRow, buffers: { x: ramp(), y } }, { after: [...after, submission] })
      .done;
    await executable.submit({ dims: oneRow, buffers: { x: ramp(), y } }, { after: [] }).done;
    dispose();
  }),
  onDevice(
    'what waits for a failure fails with it, and nothing else does',
    { doubling },
    async (device, programs) => {
      const { executable, dispose } = await compileProgram(device, programs.doubling);
      const [y, z] = [device.allocate(rowByteLength), device.allocate(rowByteLength)];
      const [well, badly] = [openCompletion(), openCompletion()];
      const failed = executable.submit(
        { dims: oneRow, buffers: { x: ramp(), y } },
        { after: [well.completion, badly.completion] },
      );
      const next = executable.submit({ dims: oneRow, buffers: { x: ramp(5), y: z } });
      const error = new Error('the other device failed');
      badly.fail(error);
      well.end();
      const reason: unknown = await failed.done.then(
        () => undefined,
        (given: unknown) => given,
      );
      expectThat(reason === error, `It ended with ${String(reason)} instead of the failure it waited for.`);
      await next.done;
      expectNumbers('of the one behind it', await readFloats(device, z, width), ramp(10));
      const untouched = await readFloats(device, y, width);
      expectThat(
        untouched.every((value) => value === 0),
        'What failed before it began has written its output.',
      );
      dispose();
    },
  ),
  onDevice(
    'what waits for a failed submission fails with its error',
    { failing },
    async (device, programs) => {
      const { right, wrong, code } = programs.failing;
      const { executable, dispose } = await compileProgram(device, programs.failing);
      const y = device.allocate(rowByteLength);
      const refused = executable.submit({ dims: oneRow, buffers: { ...wrong(), y } });
      const next = executable.submit({ dims: oneRow, buffers: { ...right(0), y } }, { after: refused });
      await expectError('the one after', code, () => next.done);
      await expectError('the failing one', code, () => refused.done);
      dispose();
    },
  ),
  onDevice(
    'times lie between submission and end, in order, of the device',
    { doubling },
    async (device, programs) => {
      const { executable, dispose } = await compileProgram(device, programs.doubling);
      const y = device.allocate(8 * rowByteLength);
      let before = 0;
      for (let round = 0; round < 3; round++) {
        const begin = performance.now();
        const completion = executable.submit({ dims: { tokens: 8 }, buffers: { x: ramp(1, 8), y } });
        await completion.done;
        const end = performance.now();
        const times = completion.times();
        expectThat(times.length > 0, 'A submission that ended has no times.');
        let last = 0;
        for (const { device: id, beginMs, endMs } of times) {
          const said = `${id}: ${beginMs} to ${endMs}`;
          // A composite names the devices that it is made of.
          const isPart = device.info.id.includes(id);
          expectThat(id.length > 0 && isPart, `A time is of "${id}"; the device is "${device.info.id}".`);
          expectThat(beginMs <= endMs, `It ended before it began (${said}).`);
          // Clocks of devices are matched to the host's within a millisecond.
          expectThat(beginMs >= begin - 1 && endMs <= end + 1, `${said} is outside of ${begin} to ${end}.`);
          expectThat(beginMs >= last, `The parts are out of order (${said}).`);
          last = beginMs;
        }
        expectThat(times[0]!.beginMs >= before - 1, 'A later submission began before an earlier one.');
        before = times[0]!.beginMs;
      }
      dispose();
    },
  ),
  onDevice('a copy waits, and keeps its place in the queue', { doubling }, async (device, programs) => {
    const { executable, dispose } = await compileProgram(device, programs.doubling);
    const buffers = [0, 1, 2].map(() => device.allocate(rowByteLength));
    const [a, b, c] = buffers as [(typeof buffers)[0], (typeof buffers)[0], (typeof buffers)[0]];
    executable.submit({ dims: oneRow, buffers: { x: ramp(), y: a } });
    const copied = device.copy({ buffer: a, byteOffset: 0 }, { buffer: b, byteOffset: 0 }, rowByteLength);
    executable.submit({ dims: oneRow, buffers: { x: b, y: c } });
    executable.submit({ dims: oneRow, buffers: { x: c, y: b } });
    expectNumbers('after the copy', await readFloats(device, c, width), ramp(4));
    expectNumbers('over the copy', await readFloats(device, b, width), ramp(8));
    await copied.done;
    const wait = openCompletion();
    const late = device.copy({ buffer: a, byteOffset: 0 }, { buffer: c, byteOffset: 0 }, rowByteLength, {
      after: wait.completion,
    });
    expectThat(!(await hasEnded(late, 20)), 'The copy did not wait.');
    wait.end();
    await late.done;
    expectNumbers('after the late copy', await readFloats(device, c, width), ramp(2));
    dispose();
  }),
  onDevice('what is disposed of in flight harms nobody', { doubling }, async (device, programs) => {
    const start = JSON.stringify(device.memory());
    const own = await compileProgram(device, programs.doubling);
    for (const what of ['an output', 'an input', 'the executable', 'all'] as const) {
      const [x, y] = [device.allocate(8 * rowByteLength), device.allocate(8 * rowByteLength)];
      const { executable, dispose } = await compileProgram(device, programs.doubling);
      const wait = openCompletion();
      const submit = (options?: SubmitOptions): Completion =>
        executable.submit({ dims: { tokens: 8 }, buffers: { x, y } }, options);
      // Some at work or behind it, and some that have yet to begin.
      const inFlight = [submit(), submit(), submit({ after: wait.completion }), submit()];
      if (what === 'an output' || what === 'all') y.dispose();
      if (what === 'an input' || what === 'all') x.dispose();
      if (what === 'the executable' || what === 'all') dispose();
      wait.end();
      for (const { done } of inFlight) {
        // Those that had not begun may be refused. Numbers go to memory that nobody looks at any more.
        await done.catch((error: unknown) => {
          const isTold = isUnicornError(error) && error.code === 'usage/disposed';
          expectThat(isTold, `Of a submission that lost ${what}: ${String(error)}.`);
        });
      }
      for (const one of [x, y, { dispose }]) one.dispose();
      const z = device.allocate(rowByteLength);
      await own.executable.submit({ dims: oneRow, buffers: { x: ramp(3), y: z } }).done;
      expectNumbers(`after ${what} went`, await readFloats(device, z, width), ramp(6));
      z.dispose();
    }
    own.dispose();
    const end = JSON.stringify(device.memory());
    expectThat(start === end, `Memory was ${start}, and is ${end} after everything was disposed of.`);
  }),
];

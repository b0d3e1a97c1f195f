/** Cases that bind buffers of other devices in every role, whole and by view. Only what is touched may be synchronized. */
import {
  findOp,
  HostTensor,
  referenceBackend,
  type Binding,
  type Bindings,
  type Completion,
  type DType,
} from '@unicorn-exec/tensor';
import { copyTensor } from '../case.js';
import { makeState } from '../ragged.js';
import {
  compileProgram,
  expectNumbers,
  expectThat,
  expectThrow,
  floatBytes,
  onDevice,
  ramp,
  readFloats,
  rowByteLength,
  type Compiled,
  type ContractCase,
  type ContractContext,
} from './contract-case.js';
import { forEachForeign, hostMemoryOf, ofDevice, type ForeignBuffer } from './foreign-memory.js';
import { cacheBlockTokens, cacheRead, cacheWrite, doubling, width, type Program } from './program.js';

const oneRow = { tokens: 1 };

/** A part of a foreign buffer that a case binds; the bytes around it must survive. */
interface ForeignPart {
  readonly foreign: ForeignBuffer;
  readonly what: string;
  readonly binding: Binding;
  readonly byteOffset: number;
}

/** Bytes around a part, where it is bound by view. */
const marginBytes = 128;

/**
 * Calls `use` with `byteLength` bytes of each kind of foreign memory, bound whole and by view, filled with `content`, and
 * expects afterwards that nothing else was changed or synchronized.
 */
async function forEachPart(
  context: ContractContext,
  content: Uint8Array,
  use: (part: ForeignPart) => Promise<Uint8Array>,
): Promise<void> {
  const { alignmentBytes } = context.info;
  const { byteLength } = content;
  for (const byteOffset of [0, alignmentBytes * Math.ceil(marginBytes / alignmentBytes)]) {
    const total = byteOffset === 0 ? byteLength : byteOffset + byteLength + marginBytes;
    await forEachForeign(context, total, async (foreign) => {
      const what = `${byteOffset === 0 ? 'a buffer' : 'a view of a buffer'} of ${foreign.owner}`;
      const before = new Uint8Array(total).fill(0xa5);
      before.set(content, byteOffset);
      await foreign.write(before);
      const binding = byteOffset === 0 ? foreign.buffer : { buffer: foreign.buffer, byteOffset };
      before.set(await use({ foreign, what, binding, byteOffset }), byteOffset);
      const after = await foreign.read();
      const at = after.findIndex((byte, i) => byte !== before[i]);
      expectThat(at < 0, `Of ${what}, byte ${at - byteOffset} of what was bound was changed or lost.`);
      expectThat(foreign.excess() === undefined, `Of ${what}, ${foreign.excess()}.`);
    });
  }
}

async function runPermitted(
  { executable }: Compiled,
  { graph }: Program,
  { foreign }: ForeignPart,
  bindings: Bindings,
): Promise<void> {
  foreign.permit(graph, executable, bindings);
  await executable.submit(bindings).done;
}

/** Blocks of a state: far more than a case touches. */
const pool = 24;

/** A state for {@link cacheWrite} and {@link cacheRead} whose every row is random. */
export function filledState(dtype: DType): HostTensor {
  const shape = { dtype, pool, kvHeads: 1, blockTokens: cacheBlockTokens, headDim: width };
  return makeState(shape, 'junk', [], 'foreign');
}

/** Stores rows of `key` and `value` at slots of the state, as every device must. */
export function writeState(
  state: HostTensor,
  key: Float32Array,
  value: Float32Array,
  slots: Int32Array,
): void {
  const shape = [slots.length, 1, width];
  findOp('kvWrite').evaluate({
    inputs: {
      state,
      key: HostTensor.f32(shape, key),
      value: HostTensor.f32(shape, value),
      slots: HostTensor.i32([slots.length], slots),
    },
    attributes: {},
    outputs: [state],
  });
}

/** Slots of two blocks with others between. */
const slots = Int32Array.of(5 * cacheBlockTokens + 1, 9 * cacheBlockTokens + 2);

export const foreignCases: readonly ContractCase[] = [
  onDevice('inputs may lie in memory of other devices', { doubling }, async (device, programs, context) => {
    const compiled = await compileProgram(device, programs.doubling);
    const y = device.allocate(rowByteLength);
    await forEachPart(context, floatBytes(ramp()), async (part) => {
      await runPermitted(compiled, programs.doubling, part, {
        dims: oneRow,
        buffers: { x: part.binding, y },
      });
      expectNumbers(`from ${part.what}`, await readFloats(device, y, width), ramp(2));
      return floatBytes(ramp());
    });
    compiled.dispose();
  }),
  onDevice('outputs may lie in memory of other devices', { doubling }, async (device, programs, context) => {
    const compiled = await compileProgram(device, programs.doubling);
    await forEachPart(context, new Uint8Array(rowByteLength).fill(0xff), async (part) => {
      await runPermitted(compiled, programs.doubling, part, {
        dims: oneRow,
        buffers: { x: ramp(), y: part.binding },
      });
      const begin = part.byteOffset;
      const bytes = (await part.foreign.read()).slice(begin, begin + rowByteLength);
      expectNumbers(`to ${part.what}`, new Float32Array(bytes.buffer), ramp(2));
      return bytes;
    });
    compiled.dispose();
  }),
  onDevice('states may lie in memory of other devices', { cacheWrite }, async (device, programs, context) => {
    const { dtype } = programs.cacheWrite;
    const compiled = await compileProgram(device, programs.cacheWrite, {
      dims: { tokens: { max: 4 }, pool: { max: pool } },
    });
    const before = filledState(dtype);
    await forEachPart(context, before.bytes, async (part) => {
      const wanted = copyTensor(before);
      const [key, value] = [ramp(3, 2), ramp(-2, 2)];
      writeState(wanted, key, value, slots);
      await runPermitted(compiled, programs.cacheWrite, part, {
        dims: { tokens: 2, pool },
        buffers: { kv: part.binding, key, value, slots },
      });
      return wanted.bytes;
    });
    compiled.dispose();
  }),
  onDevice(
    'a cache is read where another device wrote it',
    { cacheRead },
    async (device, programs, context) => {
      const { dtype } = programs.cacheRead;
      const compiled = await compileProgram(device, programs.cacheRead, {
        dims: { tokens: { max: 4 }, sequences: { max: 2 }, blocks: { max: 4 }, pool: { max: pool } },
      });
      const state = filledState(dtype);
      // A query of zeros sees all keys alike: positions 0 to 5 lie in blocks 7 and 3.
      const mean = new Float32Array(width);
      const line = new Float32Array(width);
      for (let position = 0; position < 6; position++) {
        const block = position < cacheBlockTokens ? 7 : 3;
        state.decodeRow((block * 2 + 1) * cacheBlockTokens + (position % cacheBlockTokens), line);
        line.forEach((value, i) => (mean[i]! += value / 6));
      }
      const y = device.allocate(rowByteLength);
      await forEachPart(context, state.bytes, async (part) => {
        await runPermitted(compiled, programs.cacheRead, part, {
          dims: { tokens: 1, sequences: 1, blocks: 2, pool },
          buffers: {
            kv: part.binding,
            query: new Float32Array(width),
            positions: Int32Array.of(5),
            starts: Int32Array.of(0),
            blocks: Int32Array.of(7, 3),
            y,
          },
        });
        expectNumbers(`from ${part.what}`, await readFloats(device, y, width), mean);
        return state.bytes;
      });
      compiled.dispose();
    },
  ),
  onDevice(
    'two devices work on disjoint blocks of one state at once',
    { cacheWrite },
    async (device, programs, context) => {
      const { dtype, graph } = programs.cacheWrite;
      const reference = await referenceBackend.open();
      const dims = { tokens: { max: 4 }, pool: { max: pool } };
      const own = hostMemoryOf(device, filledState(dtype).bytes.byteLength);
      try {
        const here = await compileProgram(device, programs.cacheWrite, { dims });
        const there = await compileProgram(reference, programs.cacheWrite, { dims });
        const both = async (foreign: ForeignBuffer): Promise<void> => {
          const wanted = filledState(dtype);
          await foreign.write(wanted.bytes.slice());
          const completions: Completion[] = [];
          // Offsets of two blocks, each device in its own.
          for (let offset = 0; offset < cacheBlockTokens; offset++) {
            for (const [{ executable }, block] of [
              [here, 11],
              [there, 12],
            ] as const) {
              const at = Int32Array.of(block * cacheBlockTokens + offset);
              const [key, value] = [ramp(block + offset), ramp(offset - block)];
              writeState(wanted, key, value, at);
              const bindings = {
                dims: { tokens: 1, pool },
                buffers: { kv: foreign.buffer, key, value, slots: at },
              };
              foreign.permit(graph, executable, bindings);
              completions.push(executable.submit(bindings));
            }
          }
          await Promise.all(completions.map(({ done }) => done));
          const now = await foreign.read();
          const at = now.findIndex((byte, i) => byte !== wanted.bytes[i]);
          const block = Math.floor((at * pool) / now.byteLength);
          expectThat(at < 0, `Of a state of ${foreign.owner}, block ${block} is wrong.`);
          expectThat(foreign.excess() === undefined, `Of a state of ${foreign.owner}, ${foreign.excess()}.`);
        };
        await forEachForeign(context, filledState(dtype).bytes.byteLength, both);
        if (own) await both(ofDevice('the device itself', device, own));
        here.dispose();
        there.dispose();
      } finally {
        await reference.close();
      }
    },
  ),
  onDevice(
    'a foreign buffer that the host cannot address is refused',
    { doubling },
    async (device, programs) => {
      const { executable, dispose } = await compileProgram(device, programs.doubling);
      const strange = { byteLength: rowByteLength, dispose: () => {} };
      const y = device.allocate(rowByteLength);
      await expectThrow('as an input', 'usage/binding', () =>
        executable.submit({ dims: oneRow, buffers: { x: strange, y } }),
      );
      await expectThrow('as an output', 'usage/binding', () =>
        executable.submit({ dims: oneRow, buffers: { x: ramp(), y: strange } }),
      );
      await expectThrow('by view', 'usage/binding', () =>
        executable.submit({ dims: oneRow, buffers: { x: { buffer: strange, byteOffset: 0 }, y } }),
      );
      dispose();
    },
  ),
];

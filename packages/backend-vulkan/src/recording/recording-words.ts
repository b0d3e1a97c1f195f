/** Dispatches as the words that the addon records (`NativeAddon.record`). */
import { invariant } from '@unicorn-exec/tensor';
import type { Link } from '../dispatch/chain.js';
import { pushConstantBytes, type Argument, type Dispatch, type Place } from '../dispatch/dispatch.js';

const float = new Float32Array(1);
const floatBits = new Uint32Array(float.buffer);

/** The 32 bits of a number that is not an address. */
function bits(argument: Exclude<Argument, { kind: 'address' | 'null' }>, before: number): number {
  if (argument.kind === 'before') return before;
  if (argument.kind !== 'f32') return argument.value >>> 0;
  float[0] = argument.value;
  return floatBits[0]!;
}

function isAddress(argument: Argument): argument is Extract<Argument, { kind: 'address' | 'null' }> {
  return argument.kind === 'address' || argument.kind === 'null';
}

/**
 * @param pipelines index of each dispatch's pipeline in the list that is recorded with
 * @param links how each dispatch comes after those before it
 */
export function encodeRecording(
  dispatches: readonly Dispatch[],
  pipelines: readonly number[],
  links: readonly Link[],
  addressOf: (place: Place) => bigint,
): Uint32Array {
  const words: number[] = [];
  dispatches.forEach(({ name, groups, arguments: given }, index) => {
    const constants = given.reduce((sum, argument) => sum + (isAddress(argument) ? 2 : 1), 0);
    invariant(4 * constants <= pushConstantBytes, `${name} has ${4 * constants} bytes of push constants`);
    const { barrier, before } = links[index]!;
    words.push(pipelines[index]!, ...groups, barrier ? 1 : 0, constants);
    const begin = words.length;
    for (const argument of given) {
      if (isAddress(argument)) {
        invariant((words.length - begin) % 2 === 0, `${name} has an address that is not aligned`);
        const address = argument.kind === 'null' ? 0n : addressOf(argument.place);
        words.push(Number(address & 0xffff_ffffn), Number(address >> 32n));
      } else {
        words.push(bits(argument, before));
      }
    }
  });
  return Uint32Array.from(words);
}

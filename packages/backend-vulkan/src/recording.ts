/** Dispatches as the words that the addon records (`NativeAddon.record`). */
import { invariant } from '@unicorn-exec/tensor';
import { pushConstantBytes, type Argument, type Dispatch, type Place } from './dispatch.js';

const float = new Float32Array(1);
const floatBits = new Uint32Array(float.buffer);

/** The 32 bits of a number that is not an address. */
function bits(argument: Exclude<Argument, { kind: 'address' | 'null' }>): number {
  if (argument.kind !== 'f32') return argument.value >>> 0;
  float[0] = argument.value;
  return floatBits[0]!;
}

function isAddress(argument: Argument): argument is Extract<Argument, { kind: 'address' | 'null' }> {
  return argument.kind === 'address' || argument.kind === 'null';
}

/**
 * @param pipelines index of each dispatch's pipeline in the list that is recorded with
 * @param barriers whether a barrier comes before each dispatch
 */
export function encodeRecording(
  dispatches: readonly Dispatch[],
  pipelines: readonly number[],
  barriers: readonly boolean[],
  addressOf: (place: Place) => bigint,
): Uint32Array {
  const words: number[] = [];
  dispatches.forEach(({ name, groups, arguments: given }, index) => {
    const constants = given.reduce((sum, argument) => sum + (isAddress(argument) ? 2 : 1), 0);
    invariant(4 * constants <= pushConstantBytes, `${name} has ${4 * constants} bytes of push constants`);
    words.push(pipelines[index]!, ...groups, barriers[index] ? 1 : 0, constants);
    let numbers = false;
    for (const argument of given) {
      if (isAddress(argument)) {
        invariant(!numbers, `${name} has an address behind a number`);
        const address = argument.kind === 'null' ? 0n : addressOf(argument.place);
        words.push(Number(address & 0xffff_ffffn), Number(address >> 32n));
      } else {
        numbers = true;
        words.push(bits(argument));
      }
    }
  });
  return Uint32Array.from(words);
}

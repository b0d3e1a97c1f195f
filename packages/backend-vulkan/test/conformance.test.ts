/**
 * The conformance suite on the device that the tests run on: lavapipe, unless told otherwise, under the validation layer,
 * whose messages fail the file (`setup.ts`).
 */
import { conformBackend } from '@unicorn-exec/conformance';
import { kvDTypes } from '@unicorn-exec/tensor';
import { vulkanBackend } from '../src/index.js';

const noShader = 'there is no shader for it yet';

/** Caches of keys alone, in each of the types that a cache may have. */
const keysAlone = Object.fromEntries(
  kvDTypes.flatMap((dtype) => [
    [`kvWrite ${dtype} keys alone`, noShader],
    [`attention ${dtype} of keys that are the values*`, noShader],
  ]),
);

await conformBackend(vulkanBackend, {
  unsupported: {
    ...keysAlone,
    'segmentMean *': noShader,
    'accumulateSquares *': noShader,
    'logProbabilities *': noShader,
  },
  expectedFailures: {
    'an unknown device id is refused': 'device/unavailable does not name the device',
    'close is idempotent and ends everything': 'device/closed does not name the device',
    'an executable reads several sets': 'weights of the first set alone are read',
    'times lie between submission and end, in order, of the device': 'times are not taken',
    'a copy waits, and keeps its place in the queue': 'a copy is made at once',
  },
});

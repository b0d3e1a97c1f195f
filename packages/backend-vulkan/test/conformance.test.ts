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
  },
});

/**
 * The conformance suite on the device that the tests run on: lavapipe, unless told otherwise, under the validation layer,
 * whose messages fail the file (`setup.ts`).
 */
import { conformBackend } from '@unicorn-exec/conformance';
import { vulkanBackend } from '../src/index.js';

await conformBackend(vulkanBackend);

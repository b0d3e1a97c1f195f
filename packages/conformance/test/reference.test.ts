import { referenceBackend } from '@unicorn-exec/tensor';
import { conformBackend } from '../src/index.js';

await conformBackend(referenceBackend);

import { packageBuild } from '../../tools/package-build.ts';

// ESM only: the command is the one consumer. Splitting keeps each command in a file that is loaded when it is called.
export default packageBuild({ format: ['esm'], splitting: true, shims: false });

import { packageBuild } from '../../tools/package-build.ts';

// ESM without declarations: the committed bin is the one consumer. Splitting keeps each command in a file that is loaded when it is called.
export default packageBuild({ format: ['esm'], dts: false, splitting: true, shims: false });

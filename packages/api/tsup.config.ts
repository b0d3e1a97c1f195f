import { packageBuild } from '../../tools/package-build.ts';

export default packageBuild({
  entry: {
    index: 'src/index.ts',
    error: 'src/error.ts',
    backends: 'src/backends.ts',
    measure: 'src/measure/index.ts',
    'self-test-child': 'src/self-test-child.ts',
  },
});

import { packageBuild } from '../../tools/package-build.ts';

// The error type and what reads files have entry points of their own, for programs that must start fast. Splitting, so that both formats have
// one class of it whichever entry point it comes from.
export default packageBuild({
  entry: ['src/index.ts', 'src/error.ts', 'src/file/index.ts'],
  splitting: true,
});

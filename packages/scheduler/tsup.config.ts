import { packageBuild } from '../../tools/package-build.ts';

export default packageBuild({ entry: { index: 'src/index.ts', placement: 'src/placement/index.ts' } });

import { packageBuild } from '../../tools/package-build.ts';

export default packageBuild({ entry: { index: 'src/index.ts', fixture: 'src/fixture/index.ts' } });

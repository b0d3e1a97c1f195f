import { packageTest } from '../../tools/package-test.ts';

export default packageTest();

import { packageTest } from './package-test.ts';

export default packageTest();

import { mergeConfig } from 'vitest/config';
import { packageTest } from '../../tools/package-test.ts';

export default mergeConfig(packageTest(), {
  // A process of its own for each file: the Vulkan loader reads the process's real environment, once.
  test: { pool: 'forks', setupFiles: ['test/setup.ts'] },
});

/** Libraries of `native/test`, which stand in for a driver or for the Vulkan loader. They need a C++ compiler. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = fileURLToPath(new URL('../native', import.meta.url));

export const hasCompiler = spawnSync('c++', ['--version']).status === 0;

/** Builds one into a folder. @returns its path */
export function buildMock(name: 'mock-loader' | 'mock-driver', folder: string): string {
  const path = join(folder, `${name}.so`);
  const headers = join(native, 'vendor', 'vulkan-headers');
  const source = join(native, 'test', `${name}.cpp`);
  const { status, stderr } = spawnSync(
    'c++',
    ['-shared', '-fPIC', '-I', headers, source, '-o', path, '-ldl'],
    { encoding: 'utf8' },
  );
  if (status !== 0 || stderr !== '') throw new Error(stderr);
  return path;
}

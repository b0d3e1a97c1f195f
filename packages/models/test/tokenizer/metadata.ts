/** GGUF metadata for tests: written to a file and read back, as in life. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openGguf, writeGguf, type Metadata, type MetadataEntry } from '@unicorn-exec/quant';

export async function metadataOf(entries: Iterable<readonly [string, MetadataEntry]>): Promise<Metadata> {
  const folder = mkdtempSync(join(tmpdir(), 'unicorn-tokenizer-'));
  try {
    const path = join(folder, 'tokenizer.gguf');
    await writeGguf(path, { metadata: entries, tensors: [] });
    const file = await openGguf(path);
    await file.close();
    return file.metadata;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** From the name of a model, as a user types it, to a path on this machine. */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { bundlerFix, fileError, UnicornError } from '@unicorn-exec/tensor';
import { downloadAdvice, hubName } from './download-advice.js';
import { checkArgument, text } from './option.js';

/** Names that stand for a model that comes with the packages. */
const bundled: Readonly<Record<string, () => Promise<string>>> = {
  nano: nanoPath,
};

export const defaultModel = 'nano';

/** Hoisted: the table above names it. */
async function nanoPath(): Promise<string> {
  // In a bundle the module has another address, or none, and then throws what says nothing.
  const path = await import('@unicorn-exec/model-nano').then(
    ({ modelPath }) => modelPath,
    () => undefined,
  );
  if (path !== undefined && existsSync(path)) return path;
  throw new UnicornError(
    'usage/model',
    'The bundled model is not beside its code, which a bundler may have moved.',
    { fields: { model: defaultModel, ...(path === undefined ? {} : { path }) }, fix: bundlerFix },
  );
}

/**
 * The path of a model.
 *
 * @param name an alias (`nano`, the default), or a path to a `.gguf` file or to a Hugging Face directory
 * @throws UnicornError `usage/option`, `usage/model` when there is nothing of that name, `usage/file` for a path that may not be
 * followed, `unsupported/download` for an address
 */
export async function locateModel(name: string = defaultModel): Promise<string> {
  checkArgument('locateModel', 'name', name, text);
  const alias = Object.hasOwn(bundled, name) ? bundled[name] : undefined;
  if (alias && !existsSync(name)) return alias();
  const path = resolve(name);
  if (name !== '' && (await isThere(path))) return path;
  if (/^(hf:|https?:)/.test(name)) {
    throw new UnicornError('unsupported/download', `This release does not download models ("${name}").`, {
      fields: { model: name },
      fix: downloadAdvice(name),
    });
  }
  throw new UnicornError('usage/model', `There is no model "${name}": no such file or directory.`, {
    fields: { model: name, path },
    fix:
      hubName(name) === undefined
        ? `Give the path of a .gguf file or of a Hugging Face directory, or one of the bundled names: ${Object.keys(bundled).join(', ')}.`
        : `This release does not download models. ${downloadAdvice(name)}`,
  });
}

/** @throws UnicornError `usage/file` for a path that may not be followed */
async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw fileError(error, path, 'read');
    return false;
  }
}

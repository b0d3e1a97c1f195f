/**
 * What an author declares about cases that do not run: *unsupported* is permanent and read from the device, an
 * *expected failure* is temporary and must go on failing. A declaration that is no longer true fails.
 */
export interface Declarations {
  /**
   * What the backend will never do, with the reason. Keys are case names, or beginnings that end in `*` (`sample *`,
   * `kvWrite q8_0 *`); `fast: ` or `f32: ` before it names one precision. A case that the device refuses and that is not
   * declared here fails; so does one that is declared and not refused.
   */
  readonly unsupported?: Readonly<Record<string, string>>;
  /** What does not work yet, by the same keys, with the reason. Such a case must fail: a pass fails. */
  readonly expectedFailures?: Readonly<Record<string, string>>;
}

function declared(
  table: Readonly<Record<string, string>> = {},
  names: readonly string[],
): string | undefined {
  const key = Object.keys(table).find((pattern) =>
    names.some((name) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern)),
  );
  return key === undefined ? undefined : table[key];
}

/**
 * Runs a case in the light of the declarations.
 *
 * @param names the case's names, with and without the precision
 * @param refused why the device does not support the case, if it does not
 * @param skip called with the reason instead of `run` for what is declared unsupported
 * @throws Error when a declaration is missing or untrue; what `run` throws otherwise
 */
export async function runDeclared(
  { unsupported, expectedFailures }: Declarations,
  names: readonly string[],
  refused: string | undefined,
  skip: (reason: string) => void,
  run: () => Promise<unknown>,
): Promise<void> {
  const permanent = declared(unsupported, names);
  if (refused !== undefined) {
    if (permanent !== undefined) return skip(`unsupported: ${permanent} (${refused})`);
    throw new Error(`The device refuses this (${refused}), which is not declared in options.unsupported.`);
  }
  if (permanent !== undefined) {
    throw new Error(`Declared unsupported (${permanent}), but the device does not refuse it.`);
  }
  const temporary = declared(expectedFailures, names);
  if (temporary === undefined) {
    await run();
    return;
  }
  try {
    await run();
  } catch {
    return;
  }
  throw new Error(
    `This passes although it is declared an expected failure (${temporary}): remove the declaration.`,
  );
}

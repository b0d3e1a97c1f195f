/** Something that is not well with a machine, for whoever can mend it. */
export interface Finding {
  /** A sentence that says what is wrong. */
  readonly reason: string;
  /** What to do about it: a command, or a sentence. */
  readonly fix: string;
}

/** Words of a command for a POSIX shell, quoted where they need it. */
export function shellQuoted(...words: readonly string[]): string {
  return words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(' ');
}

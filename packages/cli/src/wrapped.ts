/** Text for a terminal of 80 columns. */

const columns = 80;

/**
 * Lines no longer than 80 columns where the words allow it: a word that is longer, such as a path, has a line of its own.
 *
 * @param indent blanks in front of each line
 */
export function wrapped(text: string, indent: number): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/).filter(Boolean)) {
    if (line !== '' && indent + line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '') lines.push(line);
  return lines.map((one) => `${' '.repeat(indent)}${one}\n`).join('');
}

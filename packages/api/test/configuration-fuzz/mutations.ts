/** Checkpoints whose numbers were replaced, one at a time: of `config.json` as text, of a GGUF header as bytes. */

export interface Mutation {
  /** What was put where. */
  readonly name: string;
  /** Makes the file. */
  content(): Uint8Array;
}

/** What takes the place of a number in JSON; NaN and 1e309 as Python writes and reads them. */
const replacements = [
  ...['0', '-1', '1', '0.5', '2147483648', '9007199254740992', '-9007199254740992', '1e308', '1e309', 'NaN'],
  ...['"8"', '"a text"', 'null', '[]', '[7]', '{}', 'true'],
];

const placeholder = '"@ the number @"';

/** Every number and boolean of a JSON document in turn, however deep; of long lists the ends and the middle. */
export function* jsonMutations(source: string): Generator<Mutation> {
  const document = JSON.parse(source) as unknown;
  const encoder = new TextEncoder();
  for (const { path, put } of places(document, '')) {
    const text = JSON.stringify(put(JSON.parse(placeholder)));
    for (const replacement of replacements) {
      yield {
        name: `${path} = ${replacement}`,
        content: () => encoder.encode(text.replace(placeholder, replacement)),
      };
    }
  }
}

interface Place {
  readonly path: string;
  /** The whole document with another value there. */
  put(value: unknown): unknown;
}

function* places(value: unknown, path: string): Generator<Place> {
  if (typeof value === 'number' || typeof value === 'boolean') yield { path, put: (other) => other };
  if (typeof value !== 'object' || value === null) return;
  const keys = Object.keys(value);
  const isLong = Array.isArray(value) && keys.length > 4;
  for (const key of isLong ? [keys[0]!, keys[keys.length >> 1]!, keys.at(-1)!] : keys) {
    const inner = (value as Record<string, unknown>)[key];
    for (const { path: rest, put } of places(inner, `${path}.${key}`)) {
      yield {
        path: rest,
        put: (other) =>
          Array.isArray(value) ? value.with(Number(key), put(other)) : { ...value, [key]: put(other) },
      };
    }
  }
}

/** GGUF's types of values, and the bytes of those that are numbers. */
const numberBytes: Readonly<Record<number, number>> = {
  ...{ 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 },
};
const textType = 8;
const arrayType = 9;

/** What a number of so many bytes becomes; each is written as the bytes of an integer. */
function patterns(byteLength: number): readonly (readonly [name: string, value: bigint])[] {
  const common = [
    ['0', 0n],
    ['-1', -1n],
    ['1', 1n],
    ['3', 3n],
    ['2^31', 1n << 31n],
  ] as const;
  if (byteLength === 4)
    return [...common, ['NaN', 0x7fc00000n], ['f32 -1', 0xbf800000n], ['f32 1e38', 0x7e967699n]];
  return byteLength === 8
    ? [...common, ['2^53', 1n << 53n], ['2^62', 1n << 62n], ['2^63', 1n << 63n]]
    : common;
}

/** Every number of a GGUF header in turn: counts, lengths, types, metadata, dims and offsets. */
export function* ggufMutations(file: Uint8Array): Generator<Mutation> {
  for (const { path, offset, byteLength } of ggufNumbers(file)) {
    for (const [name, value] of patterns(byteLength)) {
      const content = (): Uint8Array => {
        // Not `slice`: that of a Buffer shares its memory.
        const mutated = new Uint8Array(file);
        for (let i = 0; i < byteLength; i++) mutated[offset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
        return mutated;
      };
      yield { name: `${path} = ${name}`, content };
    }
  }
}

interface NumberPlace {
  readonly path: string;
  readonly offset: number;
  readonly byteLength: number;
}

function* ggufNumbers(file: Uint8Array): Generator<NumberPlace> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = 4;
  const number = (path: string, byteLength: number): NumberPlace => {
    at += byteLength;
    return { path, offset: at - byteLength, byteLength };
  };
  const valueAt = ({ offset, byteLength }: NumberPlace): number =>
    byteLength === 8 ? Number(view.getBigUint64(offset, true)) : view.getUint32(offset, true);
  const text = (path: string): readonly [place: NumberPlace, text: string] => {
    const place = number(`${path} length`, 8);
    const bytes = file.subarray(at, (at += valueAt(place)));
    return [place, new TextDecoder().decode(bytes)];
  };
  yield number('version', 4);
  const tensors = number('tensor count', 8);
  const pairs = number('metadata count', 8);
  yield* [tensors, pairs];
  for (let i = 0; i < valueAt(pairs); i++) {
    const [length, key] = text(`key ${i}`);
    const type = number(`${key} type`, 4);
    yield* [length, type];
    if (valueAt(type) === textType) yield text(key)[0];
    else if (valueAt(type) !== arrayType) yield number(key, numberBytes[valueAt(type)]!);
    else {
      const [itemType, count] = [number(`${key} item type`, 4), number(`${key} count`, 8)];
      yield* [itemType, count];
      const last = valueAt(count) - 1;
      for (let item = 0; item <= last; item++) {
        const place =
          valueAt(itemType) === textType
            ? text(`${key}[${item}]`)[0]
            : number(`${key}[${item}]`, numberBytes[valueAt(itemType)]!);
        if (item === 0 || item === last >> 1 || item === last) yield place;
      }
    }
  }
  for (let i = 0; i < valueAt(tensors); i++) {
    const [length, name] = text(`tensor ${i} name`);
    const dims = number(`${name} dims`, 4);
    const sizes = Array.from({ length: valueAt(dims) }, (_, axis) => number(`${name} dim ${axis}`, 8));
    const rest = [number(`${name} type`, 4), number(`${name} offset`, 8)];
    // Tensors of one kind are checked alike.
    if (i < 12 || i % 7 === 0) yield* [length, dims, ...sizes, ...rest];
  }
}

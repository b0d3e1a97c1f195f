/** Python's format specifications, `{:>8,.2f}`: of texts, integers and floats. */
import { codePointLength, unitOf } from './code-points.js';
import { exponential, fixed, floatText, general } from './decimal.js';
import { NotSupported, RenderFailure } from './failure.js';
import { display, integerText } from './printing.js';
import { floatOf, isNumber, isText, textOf, typeName, type Value } from './value.js';
import type { Work } from './work.js';

export interface FormatSpec {
  fill: string;
  align: '<' | '>' | '^' | '=' | '';
  sign: '+' | '-' | ' ';
  alternate: boolean;
  width: number;
  grouping: ',' | '_' | '';
  precision: number | undefined;
  type: string;
}

const pattern = /^(?:([^])?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([a-zA-Z%])?$/u;
/** More than a line of any prompt has; larger widths and precisions are refused before they are made. */
const maxWidth = 100_000;

/** @throws RenderFailure for what is none */
export function formatSpecFrom(text: string): FormatSpec {
  const found = pattern.exec(text);
  if (found === null) throw new RenderFailure(`Invalid format specifier '${text}'`);
  const [, fill, align, sign, z, alternate, zero, width, grouping, precision, type] = found;
  if (z !== undefined) throw new NotSupported("The format option 'z'");
  return {
    fill: fill ?? (zero !== undefined ? '0' : ' '),
    align: (align ?? (zero !== undefined ? '=' : '')) as FormatSpec['align'],
    sign: (sign ?? '-') as FormatSpec['sign'],
    alternate: alternate !== undefined,
    width: bounded(width) ?? 0,
    grouping: (grouping ?? '') as FormatSpec['grouping'],
    precision: bounded(precision),
    type: type ?? '',
  };
}

export function bounded(digits: string | undefined): number | undefined {
  if (digits === undefined) return undefined;
  const value = Number(digits);
  if (value > maxWidth) throw new RenderFailure(`a width of ${digits} is beyond the limit of ${maxWidth}`);
  return value;
}

/** Python's `format(value, spec)`. */
export function formatted(value: Value, text: string, work: Work): string {
  if (text === '') return display(value, work);
  const spec = formatSpecFrom(text);
  if (isText(value)) return formattedText(textOf(value), spec, work);
  if (!isNumber(value)) {
    throw new RenderFailure(`unsupported format string passed to ${typeName(value)}.__format__`);
  }
  if (typeof value === 'boolean' && spec.type === '')
    return formattedText(display(value, work), { ...spec, align: spec.align || '>' }, work);
  if (typeof value === 'number') return formattedFloat(value, spec, work);
  const whole = BigInt(value);
  if ('eEfFgG%'.includes(spec.type) && spec.type !== '') return formattedFloat(floatOf(whole), spec, work);
  return formattedInteger(whole, spec, work);
}

function formattedText(text: string, spec: FormatSpec, work: Work): string {
  if (spec.type !== '' && spec.type !== 's') throw unknownCode(spec, 'str');
  if (spec.sign !== '-' || spec.alternate || spec.grouping !== '' || spec.align === '=') {
    throw new RenderFailure('this format option is not allowed with a string');
  }
  const cut = spec.precision === undefined ? text : text.slice(0, unitOf(text, spec.precision));
  return aligned('', cut, { ...spec, align: spec.align || '<' }, work);
}

function formattedInteger(value: bigint, spec: FormatSpec, work: Work): string {
  if (spec.precision !== undefined)
    throw new RenderFailure('Precision not allowed in integer format specifier');
  const size = value < 0n ? -value : value;
  const radix = { b: 2, o: 8, x: 16, X: 16 }[spec.type];
  if (spec.type === 'c')
    return formattedText(String.fromCodePoint(Number(value)), { ...spec, type: '' }, work);
  if (radix === undefined && !['', 'd', 'n'].includes(spec.type)) throw unknownCode(spec, 'int');
  let digits = radix === undefined ? integerText(size) : size.toString(radix);
  if (spec.type === 'X') digits = digits.toUpperCase();
  const prefix = spec.alternate && radix !== undefined ? `0${spec.type}` : '';
  return aligned(
    signOf(value < 0n, spec) + prefix,
    grouped(digits, spec, radix === undefined ? 3 : 4),
    spec,
    work,
  );
}

function formattedFloat(value: number, spec: FormatSpec, work: Work): string {
  const sign = signOf(value < 0 || Object.is(value, -0), spec);
  return aligned(sign, grouped(floatDigits(value, spec, work), spec, 3), spec, work);
}

/** The size of a float without its sign. */
export function floatDigits(value: number, spec: FormatSpec, work: Work): string {
  const { type, precision } = spec;
  if (spec.alternate) throw new NotSupported("The format option '#' of floats");
  if (!['', 'e', 'E', 'f', 'F', 'g', 'G', 'n', '%'].includes(type)) throw unknownCode(spec, 'float');
  const size = Math.abs(value);
  const tail = type === '%' ? '%' : '';
  const upper = type === 'E' || type === 'F' || type === 'G';
  if (!Number.isFinite(size)) {
    const word = Number.isNaN(size) ? 'nan' : 'inf';
    return (upper ? word.toUpperCase() : word) + tail;
  }
  work.spend(400 + (precision ?? 6));
  const digits = sized(type.toLowerCase(), type === '%' ? size * 100 : size, precision);
  return (upper ? digits.toUpperCase() : digits) + tail;
}

function sized(type: string, size: number, precision: number | undefined): string {
  switch (type) {
    case 'f':
    case '%':
      return fixed(size, precision ?? 6);
    case 'e':
      return exponential(size, precision ?? 6);
    case '':
      return precision === undefined ? floatText(size) : general(size, precision, true);
    default:
      return general(size, precision ?? 6);
  }
}

export function signOf(negative: boolean, { sign }: FormatSpec): string {
  return negative ? '-' : sign === '-' ? '' : sign;
}

function grouped(digits: string, { grouping }: FormatSpec, every: number): string {
  if (grouping === '') return digits;
  const whole = /^[\da-fA-F]*/.exec(digits)![0];
  const groups = whole.replace(every === 3 ? /\B(?=(?:.{3})+$)/g : /\B(?=(?:.{4})+$)/g, grouping);
  return groups + digits.slice(whole.length);
}

/** The sign stays before zeros that fill. */
export function aligned(sign: string, body: string, spec: FormatSpec, work: Work): string {
  const missing = Math.max(0, spec.width - codePointLength(sign + body));
  work.spend(missing + body.length);
  if (missing > 0 && spec.grouping !== '' && spec.align === '=' && spec.fill === '0') {
    throw new NotSupported('Zeros before a number with separators');
  }
  switch (spec.align) {
    case '<':
      return sign + body + spec.fill.repeat(missing);
    case '^': {
      const before = Math.floor(missing / 2);
      return spec.fill.repeat(before) + sign + body + spec.fill.repeat(missing - before);
    }
    case '=':
      return sign + spec.fill.repeat(missing) + body;
    default:
      return spec.fill.repeat(missing) + sign + body;
  }
}

function unknownCode({ type }: FormatSpec, of: string): RenderFailure {
  return new RenderFailure(`Unknown format code '${type}' for object of type '${of}'`);
}

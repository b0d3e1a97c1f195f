/** Formats of strings (JSON Schema Validation, section 7.3) as patterns of the whole string. */

const byte = '(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const date =
  '[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|[12][0-9]))';
const time =
  '(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\\.[0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])';
const label = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?';
const hostname = `${label}(?:\\.${label})*`;
const group = '[0-9A-Fa-f]{1,4}';

/** RFC 4291, section 2.2: eight groups, of which one run of zeros may be left out. */
const ipv6 = [
  `(?:${group}:){7}${group}`,
  `(?:${group}:){1,7}:`,
  ...[1, 2, 3, 4, 5, 6].map((behind) => `(?:${group}:){1,${7 - behind}}(?::${group}){1,${behind}}`),
  `:(?:(?::${group}){1,7}|:)`,
].join('|');

/** RFC 3339, appendix A: each unit but the last is followed by the next smaller one, if by any. */
const timeSpan = 'T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)';
const dateSpan = '(?:[0-9]+D|[0-9]+M(?:[0-9]+D)?|[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?)';

/** By name. RFC 3339 for dates and times, RFC 4122 for UUIDs, the plain part of RFC 5321 for addresses of mail. */
export const formatPatterns: Readonly<Record<string, string>> = {
  date,
  time,
  'date-time': `${date}[Tt]${time}`,
  duration: `P(?:${dateSpan}(?:${timeSpan})?|${timeSpan}|[0-9]+W)`,
  uuid: '[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}',
  email: `[A-Za-z0-9!#$%&'*+\\/=?^_\`\\{|\\}~-]+(?:\\.[A-Za-z0-9!#$%&'*+\\/=?^_\`\\{|\\}~-]+)*@${hostname}`,
  hostname,
  ipv4: `${byte}(?:\\.${byte}){3}`,
  ipv6: `(?:${ipv6})`,
  uri: "[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:\\/?#\\[\\]@!$&'\\(\\)*+,;=%-]+",
};

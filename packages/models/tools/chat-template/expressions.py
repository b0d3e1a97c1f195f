"""Templates of one line or a few, one for each thing that Jinja2 and Python do in a way of their own."""

# What every expression sees. Text, so that numbers stay as they are written here.
VARIABLES = r"""{
  "text": "Hello, World",
  "blank": "  two  words \n",
  "emoji": "😀ab🙂c",
  "lines": "one\n  two\n\nthree",
  "number": 7, "negative": -7, "half": 2.5, "whole": 3.0, "million": 1e6, "tiny": 1e-5, "small": 0.0001,
  "huge": 1e16, "big": 9007199254740993, "yes": true, "no": false, "nothing": null,
  "list": [3, 1, 2], "words": ["pear", "Apple", "fig"], "mixed": [1, 1.0, true, "1", null],
  "empty": [], "none_list": [null, 1],
  "dict": {"b": 1, "a": 2, "10": "ten", "9": "nine"},
  "nested": {"x": {"y": [1, {"z": "deep"}]}, "items": [1, 2]},
  "people": [
    {"name": "Ann", "age": 30, "role": "user", "tags": ["a", "b"]},
    {"name": "bob", "age": 25, "role": "user", "tags": []},
    {"name": "Cid", "age": 30, "role": "admin", "tags": ["a"]}
  ],
  "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}, {"v": 5, "c": []}],
  "tool": {"type": "function", "function": {"name": "f", "parameters": {"minimum": 1.0, "maximum": 1e6,
    "id": 9007199254740993, "text": "é \"q\" \\ </x> & \u0001 \u007f 漢 😀\t", "10": [], "2": {}, "ok": true, "no": null}}},
  "html": "<b>&'\"</b>"
}"""

EXPRESSIONS = r"""
text.strip('Hd')
text.lstrip('Hel')
text.rstrip('dl')
blank.strip() ~ '|' ~ blank.lstrip() ~ '|' ~ blank.rstrip()
blank.strip('\n')
'xxhixx'.strip('x') ~ '[' ~ 'xxhixx'.lstrip('x') ~ ']' ~ 'xxhixx'.rstrip('x')
'\n\n  a'.lstrip('\n')
'abc'.strip('')
'a'.strip(none)
'a'.strip(1)
'\u00a0\u2003a\ufeff'.strip()
'\x1ca\x1f'.strip()
blank.split()
blank.split(' ')
text.split(', ')
text.split('l', 1)
text.rsplit('l', 1)
text.rsplit('l', 2)
'a b  c '.split(none, 1)
'a b  c '.rsplit(none, 1)
'a,b'.split(',', maxsplit=0)
'a,b'.split(sep=',')
''.split()
''.split(',')
'ab'.split('')
'<think>x</think>y'.split('</think>')[-1].lstrip('\n')
'<think>x</think>y'.split('</think>')[0].rstrip('\n').split('<think>')[-1]
lines.splitlines()
'a\r\nb\rc\x0bd\u2028e'.splitlines()
'a\nb\n'.splitlines(true)
''.splitlines()
text.partition(', ')
text.partition('z')
text.rpartition('o')
text.rpartition('z')
text.find('o')
text.find('o', 5)
text.rfind('o')
text.find('zz')
text.find('', 100)
emoji.find('b')
emoji.rfind('c')
text.index('W')
text.index('z')
text.rindex('l')
text.count('l')
text.count('')
text.count('l', 3)
'aaaa'.count('aa')
text.startswith('Hell')
text.startswith(('x', 'H'))
text.startswith('World', 7)
text.startswith('')
text.startswith(['H'])
text.endswith('ld')
text.endswith(('x', 'd'))
text.endswith('lo', 0, 5)
text.removeprefix('Hello')
text.removesuffix('World')
text.replace('l', 'L')
text.replace('l', 'L', 1)
text.replace('l', 'L', -1)
'abc'.replace('', '-')
'abc'.replace('', '-', 2)
text.replace('l')
'-'.join(words)
'-'.join('abc')
'-'.join(list)
''.join(words | map('upper'))
text.upper() ~ text.lower()
'straße ǆ'.upper()
'hello wORLD it\'s ǆ 3d'.title()
'hELLO wORLD'.capitalize()
'ǆx'.capitalize()
'Straße'.swapcase()
'Straße ẞ'.casefold()
'ΑΣ ΑΣΑ'.lower()
'ab'.center(7, '*')
'ab'.center(5)
'abc'.center(6, '.')
'ab'.ljust(5, '.') ~ 'ab'.rjust(5, '.')
'ab'.ljust(1)
'ab'.center(5, 'xy')
'42'.zfill(5)
'-42'.zfill(5)
'+4'.zfill(1)
'a\tb\n\tc'.expandtabs(4)
'abc'.isalpha() ~ 'a1'.isalpha() ~ ''.isalpha()
'123'.isdigit() ~ '²'.isdigit() ~ '½'.isdigit() ~ '1a'.isdigit()
'²'.isdecimal() ~ '½'.isnumeric() ~ '１'.isdecimal()
'a1'.isalnum() ~ 'a_'.isalnum()
' \t\n'.isspace() ~ ''.isspace()
'Ab'.isupper() ~ 'AB1'.isupper() ~ '1'.isupper() ~ 'ab1'.islower()
'Hello World'.istitle() ~ 'Hello world'.istitle()
'a_1'.isidentifier() ~ '1a'.isidentifier()
'é'.isascii() ~ 'a'.isprintable() ~ '\n'.isprintable()
'{} and {}'.format(1, 'x')
'{1}-{0}-{name}'.format(1, 2, name='n')
'{0.real} {d[b]} {d[10]}'.format(5, d=dict)
'{:>6}|{:<6}|{:^6}|'.format('a', 'b', 'c')
'{:06.2f} {:+d} {:,} {:x} {:#x} {:b}'.format(3.14159, 5, 1234567, 255, 255, 5)
'{:.3} {:.3e} {:.3g} {:g} {:%}'.format(2.0, 12345.678, 12345.678, 1e20, 0.25)
'{:*^10}'.format('mid')
'{!r} {!s}'.format('a', 'b')
'{{}} {}'.format(1)
'{} {}'.format(1)
'{0} {}'.format(1, 2)
'{:{w}}|'.format('a', w=5)
'{x}'.format_map({'x': 3})
'{0.__class__}'.format(1)
'{:d}'.format('a')
'{'.format(1)
'%s and %s' % ('a', 1)
'%d%%' % 50
'%05.1f|%-5s|%5s|%+d' % (3.14159, 'a', 'b', 4)
'%x %X %o %#x' % (255, 255, 8, 255)
'%r' % 'a'
'%(a)s-%(b)d' % {'a': 1, 'b': 2}
'%s' % [1, 2]
'%s' % ('a', 'b')
'%s %s' % 'a'
'%d' % 'a'
'%e %g %G' % (12345.678, 0.0001, 1e-10)
'%.3s' % 'abcdef'
'%c%c' % (65, 'b')
'%s' % none
'%*d' % (5, 42)
'%5.2f%%' % 12.345
'%s, %s!' | format('Hello', 'you')
'%(x)s' | format(x=1)
'a' 'b'
'a' ~ 1 ~ none ~ true ~ 1.5
'a' + 1
1 + 'a'
'a' * 3
3 * 'ab'
'a' * -1
[1] * 3
[1] + [2]
(1, 2) + (3,)
[1] + (2,)
-7 % 3
7 % -3
-7 // 2
7 // -2
-7.5 % 2
7.5 // -2
7 / 2
6 / 2
1 / 3
0.1 + 0.2
1e16
1e15
123456789.123456789
1e22
1e-4
1e-5
1.0
100.0
-0.0
2 ** 10
2 ** -1
2 ** 0.5
-2 ** 2
2 ** 3 ** 2
2 ** 100
10 ** 20 / 3
1 // 0
1 / 0
1 % 0
1.0 % 0
true + true
true * 3
1 + 2 * 3 - 4 / 2
7 - 2 - 1
- 3 | abs
-3 | abs
+5
--5
-'a'
not 1
not ''
1 if no
1 if no else 2
1 if yes else 2 if no else 3
'1' == 1
1 == 1.0
1 == true
0 == false
none == false
'' == none
missing == none
missing == missing2
[1, 2] == [1, 2]
[1, 2] == [1.0, 2.0]
[1, 2] == (1, 2)
(1, 2) == (1, 2)
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
{'a': 1} == {'a': 2}
{'a': [1, {'b': none}]} == {'a': [1, {'b': none}]}
[1] != [2]
'a' < 'b'
'a' < 'B'
'😀' < '\uffff'
1 < 2 < 3
1 < 2 > 3
3 > 2 >= 2 == 2
1 < 1.5
1 < 'a'
none < 1
[1, 2] < [1, 3]
[1] < [1, 0]
[1, 'a'] < [2, 1]
(1, 2) <= (1, 2)
{} < {}
true < 2
'a' in 'abc'
'' in 'abc'
1 in 'abc'
'a' in ['a']
1 in [1.0]
'1' in [1]
true in [1]
'a' in {'a': 1}
1 in {true: 1}
'x' in missing
[1] in [[1]]
[1] in {}
2 in (1, 2)
'a' not in 'abc'
1 in 5
none in [none]
3 in range(5)
'b' in dict.keys()
1 in dict.values()
('b', 1) in dict.items()
yes or missing.x
no and missing.x
'' or 'default'
0 or none
1 and 2
missing or 'd'
none
true
false
[none, true, 1.0, 'a']
['it\'s', 'q"', 'b\'"', '\\', '\n\t\r', '\x00\x7f', 'é', '\u00a0', '\u200b', '😀']
{'a': 1, 'b': [1, (2,)], 1: none, 1.5: true}
(1,)
()
(1, 2)
missing
missing.x
missing['x']
missing()
missing + 1
missing | upper
missing | length
missing | list
missing is defined
missing is undefined
missing is none
none is none
none.x
none['x']
text.nope
text.nope.nope
text.nope is defined
dict.nope
dict['nope']
dict.b
dict['b']
dict['10']
dict.10
list.0
list[0]
list[-1]
list[5]
list['0']
list[1.0]
list[true]
text[0]
text[-1]
text[99]
'😀ab'[0]
emoji[0]
emoji[-2]
emoji[1:3]
emoji[::-1]
emoji[-3:]
emoji | length
emoji | reverse
emoji.upper()
emoji | list
text[2:5]
text[:-3]
text[::2]
text[::-1]
text[5:2]
text[-100:100]
text[1:2:0]
list[1:]
list[::-1]
list[:2]
list[-2:]
list[0:1] + list[2:]
(1, 2, 3)[1:]
range(10)[2:8:2]
range(10)[3]
range(10)[-1]
range(3)
range(1, 4) | list
range(5, 0, -2) | list
range(0)
range(100001)
range(1, 2, 0)
range(1.5)
range(3) == range(0, 3)
range(3) | length
list[missing]
text[missing:]
nested.x.y[1].z
nested['x']['y'][0]
nested.items
nested['items']
nested.items() | list | length
dict.items()
dict.keys()
dict.values()
dict.items() | list
dict.items() | list | first
dict.items()[0]
dict.keys() | list
dict | list
dict | length
dict.get('b')
dict.get('z')
dict.get('z', 'd')
dict.get()
dict.get('z', default=1)
dict.copy()
dict.update({'c': 1})
dict.pop('b')
dict.clear
dict.setdefault('a', 1)
dict.update is defined
list.append(1)
list.append
list.index(1)
list.index(9)
list.count(3)
list.pop()
list.sort()
(1, 2, 1).count(1)
(1, 2, 1).index(2)
dict(a=1, b=2)
dict({'a': 1}, b=2)
dict([('a', 1)])
''.__class__
dict.__class__.__mro__
text.__len__
(5).bit_length()
(5).real
(2.5).is_integer()
(2.0).as_integer_ratio()
dict | dictsort
dict | dictsort(reverse=true)
{'b': 1, 'A': 2} | dictsort
{'b': 1, 'A': 2} | dictsort(true)
{'b': 1, 'A': 0} | dictsort(false, 'value')
{'b': 1} | dictsort(by='x')
list | sort
list | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
people | sort(attribute='age') | map(attribute='name') | list
people | sort(attribute='age,name') | map(attribute='name') | list
people | sort(true, attribute='age') | map(attribute='name') | join(',')
mixed | sort
['a', 1] | sort
words | unique | list
['a', 'A', 'b'] | unique | list
['a', 'A', 'b'] | unique(true) | list
[1, 1.0, true, '1'] | unique | list
people | unique(attribute='age') | map(attribute='name') | list
[[1]] | unique | list
list | min
list | max
words | min
words | max(case_sensitive=true)
people | max(attribute='age')
[] | min
[1, 'a'] | max
list | sum
people | sum(attribute='age')
[1.5, 2] | sum
list | sum(start=10)
['a'] | sum
[[1], [2]] | sum(start=[])
list | first
list | last
[] | first
[] | last
text | first
text | last
dict | first
people | map(attribute='name') | first
people | map(attribute='name') | last
words | join
words | join(', ')
list | join('-')
people | join(', ', attribute='name')
[none, true, 1.0] | join(',')
text | join('-')
words | map('upper') | list
words | map('replace', 'p', 'P') | list
people | map(attribute='tags.0') | list
people | map(attribute='nope', default='d') | list
people | map(attribute='tags') | map('length') | list
words | map('nonsense') | list
words | map
words | map('upper') | length
list | map('string') | join
[[1, 2], [3]] | map('join', '-') | list
people | selectattr('role', 'equalto', 'user') | map(attribute='name') | list
people | selectattr('role', 'in', ['admin']) | map(attribute='name') | list
people | selectattr('tags') | map(attribute='name') | list
people | selectattr('nope', 'defined') | list
people | rejectattr('role', '==', 'user') | map(attribute='name') | list
people | rejectattr('age', 'gt', 25) | list | length
people | selectattr('role', '==', 'user') | first
people | selectattr('tags.0', 'eq', 'a') | list | count
people | selectattr
list | select('odd') | list
list | select('>', 1) | list
list | reject('even') | list
[0, 1, '', 'a', none] | select | list
[0, 1, '', 'a', none] | reject | list
list | select('divisibleby', 3) | list
list | select('nonsense') | list
people | groupby('age') | list
people | groupby('role') | map(attribute='grouper') | list
people | groupby('age') | map(attribute='list') | map('length') | list
people | groupby('nope', default='x') | length
['a', 'B', 'A'] | groupby(0) | list
list | batch(2) | list
list | batch(2, 'x') | list
list | slice(2) | list
list | slice(2, 'x') | list
list | slice(0) | list
range(7) | slice(3) | list
list | reverse | list
dict | reverse | list
text | reverse
list | reverse | first
list | list
text | list | length
5 | list
5 | length
list | count
text | count
nothing | length
dict | items | list
missing | items | list
5 | items | list
text | upper
text | lower
'hello wORLD' | title
"it's a-b (c) [d] {e} <f> g_h 3d" | title
'hELLO' | capitalize
blank | trim
'xxaxx' | trim('x')
5 | trim
text | replace('l', 'L')
text | replace('l', 'L', 1)
5 | replace(5, 6)
'ab' | center(6) ~ '|'
lines | indent
lines | indent(2, true)
lines | indent(2, true, true)
lines | indent(2, blank=true)
lines | indent('> ', first=true)
lines | indent(width=0)
5 | indent
'\n' | indent ~ '|'
'' | indent(2, true) ~ '|'
'a\r\nb' | indent(1)
text | truncate(5)
text | truncate(9)
'one two three four five' | truncate(12)
'one two three four five' | truncate(12, true)
'one two three four five' | truncate(12, false, '…', 0)
text | truncate(2)
'aaa bbb ccc ddd' | wordwrap(7)
'one two  three' | wordcount
5 | string
true | string
none | string
1.0 | string
[1] | string
'5' | int
'5.9' | int
'-3' | int
' 12 ' | int
'0x1f' | int
'0x1f' | int(base=16)
'0b11' | int(0, 2)
'1_000' | int
'abc' | int
'abc' | int(7)
'１２' | int
5.9 | int
-5.9 | int
none | int
[1] | int
true | int
missing | int
'1e3' | int
'5.5' | float
'abc' | float
'abc' | float(1.5)
'1e3' | float
'inf' | float
'nan' | float
3 | float
none | float
5 | abs
-5.5 | abs
'a' | abs
2.5 | round
3.5 | round
2.675 | round(2)
1234.5 | round(-2)
42 | round
42 | round(2)
2.1 | round(method='ceil')
2.9 | round(0, 'floor')
2.567 | round(1, 'ceil')
1.5 | round(method='x')
1.0 | round
'a' | round
0.5 | round | int
1000 | filesizeformat
1 | filesizeformat
1234567 | filesizeformat
1234567 | filesizeformat(true)
'3000000000' | filesizeformat
missing | default('d')
'' | default('d')
'' | default('d', true)
none | default('d')
none | d('d', boolean=true)
0 | default('d', true)
missing | default
html | escape
html | e | length
html | safe
html | escape + '<'
'<' + html | safe
(html | safe) ~ '<'
html | striptags
'<p>a  b</p> <!-- c -->d' | striptags
html | forceescape
html | e | e
html | e is escaped
html | e | upper
'a b/c?d=é&f' | urlencode
{'a b': 'c/d', 'e': 1} | urlencode
{'class': 'a', 'id': none, 'x': '<'} | xmlattr
[1, 2] | pprint
text | nonsense
text is nonsense
'upper' is filter
'nonsense' is filter
'odd' is test
5 is odd
4 is even
9 is divisibleby 3
9 is divisibleby(4)
5 is number
true is number
5 is integer
true is integer
5.0 is float
5.0 is integer
true is boolean
1 is boolean
true is true
1 is true
false is false
'a' is string
5 is string
html | safe is string
[] is sequence
'a' is sequence
{} is sequence
5 is sequence
(1,) is sequence
range(3) is sequence
{} is mapping
[] is mapping
[] is iterable
'a' is iterable
5 is iterable
missing is iterable
missing is sequence
none is iterable
words | map('upper') is iterable
words | map('upper') is sequence
range is callable
text is callable
text.upper is callable
'abc' is lower
'ABC' is upper
5 is upper
none is sameas none
true is sameas 1
1 is sameas true
1 is eq 1
1 is equalto 1.0
1 is ne 2
1 is gt 0
1 is lessthan 2
1 is in [1]
1 is not in [1]
'a' is in 'abc'
missing is not defined
not missing is defined
text is defined and text is string
5 is not none
1 is 2
tool | tojson
tool | tojson(indent=2)
tool | tojson(indent=4, sort_keys=true)
tool | tojson(ensure_ascii=true)
dict | tojson
dict | tojson(separators=(',', ':'))
dict | tojson(indent=1, separators=(', ', ' : '))
dict | tojson(indent='--')
[] | tojson(indent=2)
{} | tojson(indent=2)
[[], {}, [[]]] | tojson(indent=2)
1.0 | tojson
million | tojson
tiny | tojson
small | tojson
huge | tojson
big | tojson
big
million
huge
tiny
whole
half
1e400 | tojson
'nan' | float | tojson
true | tojson
none | tojson
'é"\\/\n\u2028' | tojson
'<a & b>' | tojson
'\x7f\x01' | tojson
'😀' | tojson(ensure_ascii=true)
(1, 2) | tojson
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
{(1, 2): 3} | tojson
missing | tojson
range(3) | tojson
dict.items() | tojson
words | map('upper') | tojson
html | safe | tojson
tool | tojson | safe
tool.function.parameters | tojson | length
tool | tojson(2)
tool | tojson(indent=none)
{'b': 1, 'a': 2} | tojson(sort_keys=true)
{'b': 1, 2: 2} | tojson(sort_keys=true)
'a\tb'
'a\x41\u0042\103\d\
b'
"a\"b"
'\N{BULLET}' | length
0x1F + 0b11 + 0o17 + 1_000
1_0.5
1.
.5
1e3
'a'.'b'
1 +
(1
{'a': 1,}
[1, 2,]
[,]
{'a'}
{**dict}
lambda: 1
a b
'unclosed
1 ! 2
text.upper
text['upper']()
text.upper()[0:2].lower()
dict['a'] ~ dict.a
[1, 2][0] + [3][0]
(text | upper)[0]
text | upper | lower | title
text|upper~'x'
-1 | abs ~ 'x'
1 is odd and 2 is even
1 + 1 is odd
not 1 == 2
not 1 in [2]
'a' if 1 else 'b' | upper
('a' if 0 else 'b') | upper
[1, 2, 3] | map('string') | map('int') | sum
lipsum is defined
joiner(', ') is callable
cycler('a', 'b').next()
cycler() 
namespace(a=1).a
namespace(a=1)
namespace({'a': 1}, b=2).b
namespace(_a=1)
raise_exception('no')
raise_exception()
strftime_now('%%') 
dict | attr('b')
dict | attr('items') is callable
text | attr('upper') is defined
text | attr('nope') is defined
loop is defined
self is defined
caller is defined
text.encode is defined and 0
[1, 2, 3, 4] | select('even') | map('string') | join('+')
words | map('length') | max
words | map('first') | list
people | map(attribute='name') | map('lower') | sort | join(' ')
people[0].tags | join(',') ~ people[1].tags | length
people | map(attribute='age') | unique | sort | list
(people | selectattr('role', 'equalto', 'admin') | list)[0].name
(people | last).name
people | length > 2
people | list | tojson | length
"%.2f" | format(3.14159)
"%s" | format(none)
'%s %s' | format('a')
text.split(',') | map('trim') | list
text.split(',') | last | trim | length
(1, 2) | list + [3]
'a' 'b' ~ 'c'
{'a': {'b': 1}}.a.b
{'a': 1}['a']
{1: 'int', '1': 'str'}[1]
{1: 'int'}[true]
{1: 'int'}[1.0]
{1: 'int'}['1']
{true: 'yes'} | tojson
{} or 'empty'
[] or 'empty'
0.0 or 'zero'
range(0) or 'none'
words[0][0] ~ words[-1][-1]
text[text | length - 1]
text[:text.find(',')]
text == 'Hello, World' and 'same'
text is string and text | length > 3
yes is sameas true
list is sameas list
list[0] == 3
nothing is none
nothing
yes ~ no ~ nothing
(yes, no, nothing)
yes | string | lower
yes | tojson
yes | int + 1
nothing | string | length
[yes, nothing] | tojson
1000000 * 1000000
99999999999999999999 + 1
0.1 * 3
1e308 * 10
-1e308 * 10 | string
10.0 ** 400
2 ** 0.5 * 2 ** 0.5
7 // 2 * 2 + 7 % 2
3.7 // 1
-3.7 // 1
5 % 3.5
1e16 + 1
123456789012345678
1.5e300 * 1e10
5e-324
0.1 + 0.7
100 * 1.1
1/7
22/7 | round(3)
(0.1).is_integer()
"""

# Whole templates: statements, white space, scopes.
TEMPLATES = [
    "{% for x in list %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.length }}/{{ loop.first }}/{{ loop.last }} {% endfor %}",
    "{% for x in list %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}",
    "{% for x in list %}{{ loop.cycle('odd', 'even') }} {% endfor %}",
    "{% for x in list %}{{ loop.cycle() }}{% endfor %}",
    "{% for p in people %}{% if loop.changed(p.age) %}{{ p.age }}:{% endif %}{{ p.name }} {% endfor %}",
    "{% for p in people %}{{ loop.changed(p.age, p.role) }} {% endfor %}",
    "{% for x in empty %}{{ x }}{% else %}nothing{% endfor %}",
    "{% for x in list %}{{ x }}{% else %}nothing{% endfor %}",
    "{% for x in list if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}",
    "{% for x in list if x > 9 %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in list if loop.index %}{{ x }}{% endfor %}",
    "{% for n in tree recursive %}{{ loop.depth }}{{ loop.depth0 }}:{{ n.v }}({{ loop(n.c) }}){% endfor %}",
    "{% for n in tree recursive %}[{{ n.v }}{% if n.c %}{{ loop(n.c) }}{% endif %}]{% else %}leaf{% endfor %}",
    "{% for n in tree %}{{ loop(n.c) }}{% endfor %}",
    "{% for k, v in dict.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in dict | dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in dict %}{{ k }}{% endfor %}",
    "{% for a, b in [[1, 2], (3, 4), 'xy'] %}{{ a }}{{ b }} {% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [[1]] %}{{ a }}{% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}",
    "{% for a in 5 %}{{ a }}{% endfor %}",
    "{% for a in none %}{{ a }}{% endfor %}",
    "{% for a in missing %}{{ a }}{% else %}else{% endfor %}",
    "{% for c in emoji %}{{ c }}.{% endfor %}",
    "{% for x in list %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in list %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% else %}else{% endfor %}",
    "{% for x in list %}{% for y in list %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "{% for x in list %}{% break %}{% else %}else{% endfor %}",
    "{% break %}",
    "{% for x in list %}{% set y = x %}{% endfor %}{{ y is defined }}",
    "{% set y = 1 %}{% for x in list %}{{ y }}{% set y = x %}{{ y }} {% endfor %}{{ y }}",
    "{% set ns = namespace(n=0) %}{% for x in list %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}",
    "{% set ns = namespace() %}{{ ns.x is defined }}{% set ns.x = 1 %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% set dict.x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set (a, b) = [1, 2] %}{{ a }}{{ b }}",
    "{% set a = 1, %}{{ a }}",
    "{% set a = b = 1 %}",
    "{% set 1 = 2 %}",
    "{% set a %}x{{ text }}y{% endset %}{{ a }}{{ a is string }}",
    "{% set a | upper | replace('L', '1') %}hello{% endset %}{{ a }}",
    "{% set a %}{% set b = 1 %}{% endset %}{{ b is defined }}",
    "{% if yes %}{% set a = 1 %}{% endif %}{{ a }}",
    "{% if no %}a{% elif nothing %}b{% elif number %}c{% else %}d{% endif %}",
    "{% if missing %}a{% else %}b{% endif %}",
    "{% if missing.x %}a{% endif %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a }}",
    "{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=5, a=4) }}{{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
    "{% macro m() %}{{ caller() }}!{% endmacro %}{% call m() %}body{% endcall %}",
    "{% macro m() %}{{ caller(1, b=2) }}{% endmacro %}{% call(a, b=3) m() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}body{% endcall %}",
    "{% macro m() %}{% if caller %}{{ caller() }}{% else %}none{% endif %}{% endmacro %}{{ m() }}{% call m() %}some{% endcall %}",
    "{% macro f(n) %}{% if n > 1 %}{{ n }},{{ f(n - 1) }}{% else %}1{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro m() %}{{ text }}{{ late }}{% endmacro %}{% set late = 1 %}{{ m() }}",
    "{% macro m() %}{% set inner = 1 %}{% endmacro %}{{ m() }}{{ inner is defined }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ m }}",
    "{{ m(1) }}{% macro m(x) %}{{ x }}{% endmacro %}",
    "{% for x in list %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}{{ m is defined }}",
    "{% macro m(x) %}{{ x | upper }}{% endmacro %}{{ words | map('upper') | join }}{{ m('a') | lower }}{{ m('b') ~ 'c' }}",
    "{% macro m(x) -%}\n  {{ x }}\n{%- endmacro %}[{{ m(1) }}]",
    "{% filter upper %}abc {{ text }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}aha{% endfilter %}",
    "{% filter indent(2) %}a\nb{% endfilter %}",
    "{% raw %}{{ x }} {% y %}{# z #}{% endraw %}",
    "a {%- raw -%}  {{ x }}  {%- endraw -%} b",
    "{% raw %}unclosed",
    "{# comment #}a{#- comment -#} b",
    "a  {#- c #}  b {# d -#}  c",
    "{# unclosed",
    "{#-#}x",
    "a\n{# c #}\nb\n",
    "  {% if yes %}\n  a\n  {% endif %}\nb",
    "  {{ number }}\n  {{ number }}  \n",
    "a {%- if yes -%} b {%- endif -%} c",
    "a\n\n{%- if yes %}\n\nb\n{% endif -%}\n\n c",
    "a   {%+ if yes %}b{% endif %}",
    "a\n   {%+ if yes %}b{% endif +%}\nc",
    "{% if yes %}\n\nx{% endif %}\n\ny",
    "x {{- number -}} y",
    "x {{ number -}}  \n y",
    "x\n {%- set a = 1 %}\n y",
    "line\n\t {% set a = 1 %}  \nend",
    "{% if yes -%}\n   a\n{%- else -%}\n b\n{%- endif %}\n",
    "a\n",
    "a\n\n",
    "a\r\nb\r\n",
    "{% if yes %}\r\n  a\r\n{% endif %}\r\nb",
    "a\rb\r{% if yes %}\rc{% endif %}",
    "{{ 'a\r\nb' | length }}",
    "{{ 'a\nb' | length }}\u2028{{ '\u2028' | length }}",
    "\u00a0 {%- if yes -%}\u2003x{% endif %}",
    "{% for x in list -%}\n  {{ x }},\n{%- endfor %}",
    "{% for x in list %}\n{{ x }}\n{% endfor %}",
    "{%for x in list%}{{x}}{%endfor%}",
    "{%-for x in list-%} {{x}} {%-endfor-%}",
    "{{ {'a': {'b': 1}} }}",
    "{{ '{{' }}{{ '}}' }}{{ '%}' }}",
    "{ { } } {a} % } {%% if",
    "{{ '#}' }}{# '}}' #}",
    "{{ }}",
    "{% %}",
    "{{ 1 }",
    "{% if yes %}",
    "{% endif %}",
    "{% for x in list %}{% endif %}",
    "{% nonsense %}",
    "{% do 1 %}",
    "{% include 'x' %}",
    "{% include 'x' ignore missing %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "a{% if no %}{% include 'x' %}{% endif %}b",
    "{% block b %}body {{ text }}{% endblock %}",
    "{% block b %}{% endblock b %}{% block b %}{% endblock %}",
    "{% print 1, 2 %}",
    "{% generation %}a{{ number }}{% endgeneration %}b",
    "{%- generation -%}  a  {%- endgeneration -%}  b",
    "{% for x in list %}{% generation %}{{ x }}{% set z = x %}{% endgeneration %}{{ z is defined }}{% endfor %}",
    "{% generation %}a",
    "{% set gen = words | map('upper') %}{{ gen | list }}{{ gen | list }}",
    "{% set gen = words | select %}{{ gen | first }}{{ gen | list }}",
    "{% for x in words | map('upper') %}{{ loop.length }}{{ loop.last }}{{ x }} {% endfor %}",
    "{% for x in list | reverse %}{{ loop.index }}{{ x }}{% endfor %}",
    "{% for x in list[::-1] %}{{ x }}{% endfor %}",
    "{% for x in range(3) %}{{ x }}{% endfor %}",
    "{% for i in range(list | length - 1, -1, -1) %}{{ list[i] }}{% endfor %}",
    "{% for row in list | batch(2) %}{{ row }}{% endfor %}",
    "{% for g in people | groupby('age') %}{{ g.grouper }}={{ g.list | map(attribute='name') | join(',') }};{% endfor %}",
    "{% for age, group in people | groupby('age') %}{{ age }}:{{ group | length }} {% endfor %}",
    "{% set j = joiner(' | ') %}{% for x in list %}{{ j() }}{{ x }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{% for x in list %}{{ c.next() }}{{ c.current }}{% endfor %}{{ c.reset() }}{{ c.next() }}",
    "{% set x = [] %}{% set x = x + [1] %}{{ x }}",
    "{% set _ = list.append(4) %}",
    "{% set f = text.upper %}{{ f() }}",
    "{% set f = '{}'.format %}{{ f(1) }}",
    "{{ dict(**{'a': 1}) }}{{ range(*[1, 3]) | list }}",
    "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1], **{'b': 2}) }}",
    "{% if 'a' in text or text.startswith('H') and not no %}yes{% endif %}",
    "{% if list and list[0] is number and list | length == 3 %}ok{% endif %}",
    "{{ text if text else 'none' }}{{ missing if missing is defined else 'undefined' }}",
    "{%- set ns = namespace(found=false) -%}{%- for p in people[::-1] -%}{%- if not ns.found and p.role == 'user' -%}{{ p.name }}{%- set ns.found = true -%}{%- endif -%}{%- endfor -%}",
    "{% set x = 5 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 6 %}{{ m() }}",
    "{% set loop_var = 1 %}{% for loop_var in list %}{{ loop_var }}{% endfor %}{{ loop_var }}",
    "{% for x in list %}{% for y in words %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for x in list %}{% set outer = loop %}{% for y in words %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for x in list %}{{ loop }}{% endfor %}",
    "{{ ns }}{% set ns = namespace(a=[1], b='x') %}{{ ns }}",
    "{% autoescape false %}{{ html }}{% endautoescape %}",
    "{{ html | e ~ html }}{{ [html | e] }}",
    "{% set a = 'x' %}{% set b = a ~ a %}{% set a = b ~ b %}{{ a }}{{ b }}",
    "{% if number == 7: %}colon{% endif %}",
    "{% for x in list: %}{{ x }}{% endfor %}",
    "{% set true = 1 %}",
    "{% set not = 1 %}",
    "{% set range = 3 %}{{ range }}",
    "{% macro range(x) %}mine{{ x }}{% endmacro %}{{ range(3) }}",
    "{% set message = people[0] %}{% if message['role'] in ['user', 'tool'] %}{{ message.name + '\\n' }}{% endif %}|",
    "{{ '\\n'.join(words) }}|{{ \"\\n\" }}|{{ '\\\\n' }}|",
    "{% for message in people %}{{ '<|' + message['role'] + '|>' + '\\n' + message['name'] | trim + '<|end|>' }}{% endfor %}",
]

"""Templates, and what Jinja2 renders of them in the sandbox of transformers.

    make_templates.py                    writes templates/expressions.json
    make_templates.py FOLDER OUT         renders every *.jinja below FOLDER with a dozen conversations, and writes a
                                         case file for each into OUT (see README.md)
"""

import copy
import datetime
import itertools
import json
import pathlib
import re
import sys

from transformers.utils import chat_template_utils as reference

compiled = reference._cached_compile_jinja_template


class Stopped(datetime.datetime):
    """Some templates tell the time to the second."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 6, 9, 5, 3)


reference.datetime = Stopped

CONTEXT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " Hi there "},
        {"role": "assistant", "content": "Hello.", "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]},
    ],
    "tools": None,
    "t": True,
    "n": 7,
    "neg": -3,
    "zero": 0,
    "f": 2.5,
    "big": 10**15,
    "s": "a B-c's",
    "e": "",
    "u": "Größe ÉÀ ßǆ 数字 🙂",
    "l": [3, 1, 2],
    "m": ["b", "A", "c", "a"],
    "d": {"b": 1, "a": {"x": [1, None]}, "items": 5},
    "o": [{"k": "x", "v": 1, "w": {"y": 2}}, {"k": "Y", "v": 3}, {"k": "x", "v": 2, "w": {"y": 1}}],
    "lines": "one\n  two\n\nthree\n",
    "html": "<p title='x'>a &amp; b</p>",
}

# What Jinja2 writes of these depends on chance, on addresses in memory or on the version of Python.
LOOSE = re.compile(r"0x[0-9a-f]{6,}|<built-in|<bound method|<function|<generator")


def e(text):
    """One expression a line."""
    return ["{{ " + line + " }}" for line in text.strip().split("\n") if line.strip()]


def t(text):
    """One template a line, with \\n for line ends."""
    return [line.replace("\\n", "\n") for line in text.strip("\n").split("\n") if line.strip()]


SEEN = e(
    """
none is iterable
tools is iterable
'abc' is sequence
{'a':1} is sequence
missing | length
'a b c'.split(maxsplit=1)
'x'.center(5)
'x'.ljust(3) ~ '|'
'x'.rjust(3)
'7'.zfill(3)
'%s and %d' % ('a', 3)
{'b':1,'a':2} | dictsort
{'b':1,'a':2} | items | list
{'b':1,'a':2}.items() | list
'a b' | urlencode
'a b' | wordcount
'abc def' | truncate(5)
'x' | int(5)
2 ** -1
lipsum is defined
cycler is defined
joiner is defined
true is number
raise_exception is callable
(1, 2)
(1,)
'aXbX' | replace('X', '', 1)
[[1,2],[3]] | sum(start=[])
[{'n':1},{'n':2}] | sum(attribute='n')
self is defined
messages[0].items() | list
'a'.encode('utf-8')
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'ß'.casefold()
'Ab'.swapcase()
'a1'.translate({97: 'b'})
'x'.expandtabs()
"%.2f" % 3.14159
"it's ok" | title
messages | first | attr('role')
[1,2,3] | random in [1,2,3]
'a' | pprint
1000000 | filesizeformat
'<a>x</a>' | striptags
{'a':1} | xmlattr
"""
)

FILTERS = e(
    """
neg | abs
-2.5 | abs
true | abs
'x' | abs
missing | abs
o[0] | attr('k')
s | attr('upper')
d | attr('__class__')
s | attr('nothing') is defined
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3, 4, 5] | batch(2, 'x') | list
l | batch(2) | map('join', '-') | join('|')
l | batch(0) | list
s | capitalize
u | capitalize
42 | capitalize
none | capitalize
s | center(15) ~ '|'
s | center(14) ~ '|'
'ab' | center | length
l | count
d | count
n | count
none | length
range(5) | length
l | map('string') | length
missing | default('x')
missing | d('x')
e | default('x')
e | default('x', true)
none | default('x')
zero | default(default_value='y', boolean=true)
missing.attribute | default('x')
d | dictsort
d | dictsort(reverse=true)
{'b': 2, 'A': 1, 'c': 0} | dictsort
{'b': 2, 'A': 1, 'c': 0} | dictsort(true)
{'b': 2, 'A': 1, 'c': 0} | dictsort(by='value')
{'b': 2, 'A': 1, 'c': 0} | dictsort(false, 'value', true)
{'b': 2, 'A': 1} | dictsort(by='other')
l | dictsort
{1: 2, 'a': 3} | dictsort
html | e
html | escape
html | escape | escape
html | e | forceescape
'a' | e
n | e
none | e
'<' | safe
'<' | safe | e
('<' | safe) ~ '>'
('<' | safe) + '>'
('<' | e) + '>'
'<' + ('>' | safe)
['<' | safe, 1]
('a' | safe) * 2
('%s' | safe) % '<'
('{}' | safe).format('<')
('a,b' | safe).split(',')
('<x>' | safe)[0]
('<' | safe) is escaped
'<' is escaped
1 | filesizeformat
0 | filesizeformat
999 | filesizeformat
1500 | filesizeformat
1048576 | filesizeformat(true)
123456789012 | filesizeformat
1e30 | filesizeformat
'2000' | filesizeformat
'x' | filesizeformat
l | first
e | first is defined
missing | first is defined
d | first
n | first
'3.5' | float
'x' | float
'x' | float(1.5)
'1e3' | float
'inf' | float
' 7 ' | float
'1_0' | float
none | float
l | float
t | float
missing | float
'%s-%d' | format('q', 5)
'%(a)s' | format(a=1)
'%s' | format('a', 'b')
'%s %s' | format('a')
'%x' | format(255)
o | groupby('k')
o | groupby('k', case_sensitive=true)
o | groupby('w.y', default=0)
o | groupby('v') | map(attribute='grouper') | list
o | groupby('v') | map('last') | list
o | groupby(attribute='missing')
(o | groupby('k'))[0].list | length
lines | indent
lines | indent(2)
lines | indent(2, true)
lines | indent(2, true, true)
lines | indent('> ', first=true)
lines | indent(width=1, blank=true)
e | indent
e | indent(2, true)
n | indent
missing | indent
'5' | int
'x' | int
'x' | int(9)
'0x1f' | int(base=16)
'0x1f' | int(0, 16)
'0b11' | int(0, 0)
'z' | int(0, 36)
'3.9' | int
'-3.9' | int
' 12 ' | int
'1_000' | int
'1__0' | int
'٣' | int
'1e3' | int
3.9 | int
-3.9 | int
none | int
none | int(4)
l | int
t | int
missing | int
f | int
1e20 | int
d | items | list
missing | items | list
l | items | list
l | join
l | join(', ')
l | join(d='-')
o | join(',', attribute='k')
o | join('/', 'v')
d | join(',')
s | join('.')
missing | join(',')
n | join
[1, none, 2.5, true, missing] | join('|')
['<', '<' | safe] | join('<')
l | last
s | last
d | last
e | last is defined
missing | last
range(3) | last
l | map('string') | last
l | list
s | list
d | list
missing | list
n | list
none | list
(1, 2) | list
s | lower
u | lower
'ΑΣ ΣΑΣ' | lower
'İ' | lower | length
m | map('upper') | list
m | map('upper') | join
o | map(attribute='k') | list
o | map(attribute='w.y') | list
o | map(attribute='w.y', default='-') | list
o | map(attribute='nope') | list
o | map(attribute='nope', default='-') | join
m | map('replace', 'a', 'z') | list
m | map('default', 'x') | list
l | map('float') | list
[[1, 2], [3]] | map('sum') | list
[[1, 2], [3]] | map(attribute=0) | list
[[1, 2], [3]] | map(attribute='0') | list
l | map('nofilter') | list
l | map | list
l | map(attribute='x', other=1) | list
none | map('upper') | list
missing | map('upper') | list
n | map('upper') | list
l | max
l | min
m | max
m | min
m | max(case_sensitive=true)
o | max(attribute='v')
o | min(attribute='w.y')
[] | max is defined
[1, 'a'] | max
s | max
missing | min is defined
d | pprint
s | pprint
u | pprint
l | pprint
[[s, s, s, s, s], [u, u, u, u], {'key': s, 'other': [s, s, s, s, s]}] | pprint
'word ' * 40 | pprint
('word ' * 40) | pprint
{'k': 'word ' * 30} | pprint
range(40) | list | pprint
{'long key %s' % n: s * 8, 'b': [1, 2, {'c': s * 8}]} | pprint
l | reject('odd') | list
l | reject | list
[0, 1, '', 'a', none] | reject | list
o | rejectattr('w') | list
o | rejectattr('k', 'equalto', 'x') | list
o | rejectattr('nope', 'undefined') | list
s | replace('a', 'z')
'aaa' | replace('a', 'b', 2)
'aaa' | replace('', '-')
'aaa' | replace('', '-', 2)
'aaa' | replace('a', 'b', count=-1)
12321 | replace(2, 'x')
s | replace('a')
none | replace('o', 'x')
l | reverse | list
s | reverse
u | reverse
d | reverse | list
(1, 2) | reverse | list
range(3) | reverse | list
missing | reverse | list
n | reverse
none | reverse
l | map('string') | reverse
2.5 | round
3.5 | round
2.675 | round(2)
42.55 | round(1, 'floor')
42.55 | round(1, 'ceil')
42.55 | round(method='ceil')
1234.5 | round(-2)
1250 | round(-2)
1350 | round(-2)
15 | round(-1)
7 | round
7 | round(2)
7 | round(0, 'floor')
-2.5 | round
t | round
1e300 | round(2)
0.1 | round(25)
s | round
2.5 | round(method='other')
missing | round
[0, 1, '', 'a', none] | select | list
l | select('odd') | list
l | select('>', 1) | list
l | select('gt', 1) | list
l | select('in', [1, 2]) | list
l | select('divisibleby', 2) | list
m | select('eq', 'A') | list
l | select('notest') | list
l | select('>', 'x') | list
none | select | list
missing | select | list
o | selectattr('w') | list
o | selectattr('w', 'defined') | map(attribute='v') | list
o | selectattr('w.y', '==', 2) | list
o | selectattr('v', '>=', 2) | map(attribute='k') | join
o | selectattr('k', 'in', ['x']) | list | length
o | selectattr | list
messages | selectattr('role', 'equalto', 'user') | list | length
messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | list
[1, 2, 3, 4, 5] | slice(3) | list
[1, 2, 3, 4, 5] | slice(3, 'x') | list
[1, 2] | slice(3) | list
[1, 2] | slice(0) | list
missing | slice(2) | list
l | sort
l | sort(reverse=true)
l | sort(true)
m | sort
m | sort(case_sensitive=true)
m | sort(false, true)
o | sort(attribute='v')
o | sort(attribute='k,v') | map(attribute='v') | list
o | sort(attribute='k', reverse=true) | map(attribute='v') | list
o | sort(attribute='w.y')
s | sort
d | sort
[1, 'a'] | sort
[1, 2.5, true] | sort
[none, 1] | sort
[[2, 1], [1, 2]] | sort
[{}, {}] | sort
n | sort
missing | sort
n | string
f | string
none | string
missing | string
l | string
d | string
html | striptags
'a  <b>x</b>\n<!-- <i> -->y &lt; &#39; &#x41; &copy;' | striptags
'a < b' | striptags
n | striptags
l | sum
o | sum(attribute='v')
o | sum('v', 10)
[1.5, 2] | sum
[] | sum
[] | sum(start=3)
m | sum
m | sum(start='')
missing | sum
[[1], [2]] | sum(start=[])
[0.1, 0.2, 0.3] | sum
s | title
u | title
"foo-bar (baz) [qux] <quux> {corge} it's" | title
'a1b' | title
n | title
d | tojson
[1, 2.0, 1e20, none, true, 'é"<>&\\'] | tojson
d | tojson(indent=2)
d | tojson(indent=0)
d | tojson(true)
u | tojson(ensure_ascii=true)
d | tojson(separators=(',', ':'))
d | tojson(separators=(',', ':'), indent=1)
{'b': 1, 'a': 2} | tojson(sort_keys=true)
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
{(1, 2): 3} | tojson
{1: 2, 'a': 3} | tojson(sort_keys=true)
(1, 2) | tojson
[] | tojson(indent=4)
{} | tojson(indent=4)
[[], {}] | tojson(indent=4)
missing | tojson
range(3) | tojson
d.keys() | tojson
l | map('string') | tojson
namespace(a=1) | tojson
raise_exception | tojson
d | tojson('x')
d | tojson(indent='--')
'\x7f\x01\u2028' | tojson
html | safe | tojson
('inf' | float) | tojson
' a ' | trim ~ '|'
'xxaxx' | trim('x')
'abcab' | trim('ab')
' a ' | trim(none) ~ '|'
n | trim
lines | trim
'a long sentence here' | truncate(10)
'a long sentence here' | truncate(10, true)
'a long sentence here' | truncate(10, false, '…')
'a long sentence here' | truncate(10, leeway=0)
'a long sentence here' | truncate(15, leeway=5)
'a long sentence here' | truncate(length=4, end='', leeway=0)
'a long sentence here' | truncate(2)
u | truncate(8, true, '', 0)
l | truncate(2)
'averylongwordwithoutspaces' | truncate(10)
m | unique | list
['a', 'A', 'b', 'a'] | unique | list
['a', 'A', 'b', 'a'] | unique(true) | list
o | unique(attribute='k') | list | length
[1, 1.0, true, '1'] | unique | list
[[1], [1]] | unique | list
s | upper
u | upper
'straße ŉ ﬁ' | upper
n | upper
s | urlencode
u | urlencode
'a/b?c=d&e' | urlencode
{'a b': 'c/d', 'x': 1} | urlencode
[('a', 1), ('b', 'é')] | urlencode
n | urlencode
none | urlencode
missing | urlencode
l | urlencode
'see https://example.com/x, or www.test.org.' | urlize
'mail me@example.com (http://a.b/c_(d))' | urlize(nofollow=true)
'https://example.com/a/very/long/path' | urlize(20, target='_blank')
'a ftp://x.y b' | urlize(extra_schemes=['ftp://'])
s | wordcount
u | wordcount
e | wordcount
'one two three four five six' | wordwrap(10)
'one two three four five six' | wordwrap(10, wrapstring='|')
'averyveryverylongword short' | wordwrap(8)
'averyveryverylongword short' | wordwrap(8, false)
'well-known half-hearted co-operation' | wordwrap(10)
'well-known half-hearted co-operation' | wordwrap(10, break_on_hyphens=false)
lines | wordwrap(3)
'a -- b---c d--' | wordwrap(4)
s | wordwrap(0)
{'a': 1, 'b': none, 'c': missing, 'd': '<">'} | xmlattr
{'a': 1} | xmlattr(false)
{'a b': 1} | xmlattr
{} | xmlattr
l | xmlattr
l | random(1)
l | nofilter
l | first(1)
l | join(1, 2, 3, 4)
l | join(nope=1)
l | join('a', d='b')
l | default()
s | upper | lower | title | replace("'", '') | length
-1 | abs
- 1 | abs
-n | abs
n | string ~ 'x' | upper
(n | string ~ 'x') | upper
'a' + 'b' | upper
"""
)

TESTS = [
    "{{ [" + ", ".join(f"{value} is {test}" for value in values) + "] }}"
    for test in (
        "defined undefined none boolean false true integer float number string mapping sequence iterable callable"
        " escaped lower upper"
    ).split()
    for values in [
        ["n", "f", "t", "none", "s", "e", "u", "l", "(1, 2)", "d", "missing", "range(2)", "big", "n.real"],
        [
            "d.items()",
            "d.keys()",
            "(l | map('string'))",
            "raise_exception",
            "namespace()",
            "range",
            "s.upper",
            "cycler(1)",
            "joiner()",
            "('a' | safe)",
            "dict",
            "'A1'",
            "'a1'",
            "'1'",
            "d.a.x.nothing",
        ],
    ]
] + e(
    """
n is odd
n is even
neg is odd
4 is even
f is odd
s is odd
none is odd
missing is even
t is odd
9 is divisibleby 3
9 is divisibleby(2)
9 is divisibleby 0
9 is divisibleby
'x' is divisibleby 2
n is eq 7
n is equalto(7.0)
n is == 7
n is ne 8
n is != 7
n is gt 5
n is greaterthan 8
n is ge 7
n is lt 8
n is lessthan 3
n is le 7
n is lt 'a'
n is in [7]
n is in(l)
'a' is in s
n is not in l
n is in missing
none is in none
n is sameas n
none is sameas none
1 is sameas true
1.0 is sameas 1
true is sameas true
l is sameas l
[1] is sameas [1]
missing is sameas missing
'upper' is filter
'nope' is filter
n is filter
'odd' is test
'nope' is test
n is nope
n is defined is true
n is not defined
not n is defined
not missing is defined
missing.x is defined
d.x is defined
d.x.y is defined
d['x'] is defined
l[9] is defined
s.nope is defined
n.nope is defined
none.nope is defined
n is number and s is string
n is integer or missing.x
'A' is upper
1 is upper
'a b' is lower
(n is odd) ~ ''
n is odd ~ 'x'
[1, 2] is sequence and [1, 2] is iterable
loop is defined
caller is defined
varargs is defined
messages is iterable and messages is not string and messages is not mapping
messages[3].content is string
messages[3].content is sequence and messages[3].content is not string
n is odd if t else 'x'
n is divisibleby 7 and t
n is divisibleby n
n is divisibleby l[0]
n is divisibleby (l[0])
"""
)

VALUES = ["n", "f", "t", "none", "s", "l", "(1, 2)", "d", "missing", "zero", "neg", "'%s'", "0.0", "big"]
OPERATORS = [
    "{{ " + f"{a} {operator} {b}" + " }}"
    for operator in ["+", "-", "*", "/", "//", "%", "**", "<", "==", "in", "~"]
    for a, b in itertools.product(VALUES, VALUES)
    if not (operator == "**" and (b == "big" or (a, b) == ("neg", "f")))
    if not (operator == "*" and "big" in (a, b) and {"s", "l", "(1, 2)", "'%s'"} & {a, b})
] + e(
    """
n > l
n >= 7
n <= 6.9
n != 7
n != 'a'
l != [3, 1, 2]
[1, 2] < [1, 3]
[1, 2] < [1]
(1, 'a') < (1, 'b')
(1, 2) < [1, 3]
'a' < 'B'
'a' <= 'a'
1 < 2 < 3
1 < 3 < 2
3 > 2 >= 2 != 1
1 == 1.0 == true
'a' in 'abc' in ['abc']
1 in l and 9 not in l
not 1 in l
'b' in d
'x' not in d
[1] in [[1], 2]
[1] in d
missing in d
missing in [missing]
missing == missing2
missing == none
missing != 1
none == false
0 == false
'' == false
'1' == 1
[] == ()
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
range(3) == range(0, 3, 1)
range(3) == [0, 1, 2]
d.keys() == d.keys()
7 in range(10)
'a' in range(3)
-7 // 2
-7 % 3
7 % -3
-7.5 // 2
-7.5 % 2
7.5 % -2
5 / 2
6 / 3
1 / 3
2 ** 10
2 ** 0.5
2 ** 100
2 ** 200
(-2) ** 3
-2 ** 2
2 ** -2
2 ** 3 ** 2
0 ** 0
0 ** -1
10 ** 20 // 3
10 ** 20 % 7
-(10 ** 20) // 3
9223372036854775807 + 1
-9223372036854775808 - 1
9223372036854775807 * 3
123456789012345678901234567890
12345678901234567890 == 12345678901234567890.0
1e308 * 10
-1e308 * 10
0.1 + 0.2
1e16
1e15
123456789.123
1e-4
1e-5
-0.0
1.0
100000000000000000000.0
5e-324
1.7976931348623157e308
1_000
1_0.5_0
0x1F
0b101
0o17
00
1e3
1E-3
1.5e+3
true + 1
true + true
-true
+true
not 0
not ''
not missing
- 'a'
+ l
-none
-missing
1 + 2 * 3 - 4 / 2
(1 + 2) * 3
1 ~ 2 + 3
1 + 2 ~ 3
1 ~ none ~ true ~ [1] ~ 1.0
'a' 'b' "c"
'a' * 3
3 * 'ab'
'a' * 0
'a' * -1
[1] * 2
(1,) * 2
'a' * 1.5
l + [4]
l + (4,)
(1,) + (2,)
'a' + 1
'a' + missing
missing + 'a'
1 and 2
0 and 2
0 or 'x'
1 or missing.x
none or false or ''
missing or 'x'
t and s or e
1 if t else 2
1 if not t else 2
1 if not t
(1 if not t) is defined
'a' if n > 5 else 'b' if n > 3 else 'c'
1 if t if s else 2
s[0]
s[-1]
s[100] is defined
s['x'] is defined
u[2]
u[-1]
l[0]
l[-1]
l['0'] is defined
l[1.0] is defined
l[true]
l[none] is defined
d['b']
d.b
d.items
d['items']
d.items()
d.keys() | list
d.values() | list
d.get('b')
d.get('zz')
d.get('zz', 3)
d.nope
d.a.x[0]
d.a['x'][1]
d[none] is defined
d[l] is defined
{1: 'a', true: 'b', 1.0: 'c'}
{1: 'a'}[1.0]
{'a': 1, 'a': 2}
{none: 1}[none]
{(1, 2): 3}[(1, 2)]
{(1, 2): 3}[1, 2]
{[1]: 2}
l.0
l.5 is defined
d.a.x.0
'abc'.1
s[1:3]
s[:-2]
s[::-1]
s[::2]
s[5:1:-1]
s[10:]
s[-100:3]
u[::-1]
u[1:4]
l[1:]
l[:1]
l[::-1]
l[::-2]
l[-2:]
l[5:]
l[1:1]
(1, 2, 3)[1:]
(1, 2, 3)[::-1]
range(10)[2:8:3]
range(10)[::-1]
range(10)[3]
range(10)[-1]
l[::0]
l['a':]
none[1:]
none[::-1]
true[3:2:2] is defined
[1.5[1:]]
((1, 2) | sum)[1:] is defined
(none[1:] if true else 1) ~ 'x'
(1 | abs)[1:]
(s | length)[1:]
tools[1:]
s | int(1, 'a')
'3.5' | int(0, s)
3.7 | int(0, l)
s | sort('a')
s | sort(none)
s | sort(1)
d | dictsort(reverse='x')
n[1:]
d[1:]
missing[1:]
missing[0]
missing.x
missing()
s[n:]
s[zero:neg]
messages[1:] | length
messages[1:] is sequence
messages[:-1][-1].role
messages[-1]['content'][0]['text']
messages[0]['nothing'] is defined
range(5)
range(2, 8, 2)
range(3, 0, -1) | list
range(0)
range(1, 2, 0)
range('a')
range(100001)
range(100000) | length
range()
range(1.5)
dict(a=1, b=2)
dict([('a', 1)])
dict({'a': 1}, b=2)
dict([1])
dict
dict.fromkeys(['a', 'b'], 0)
namespace(a=1)
namespace({'a': 1}, b=2)
namespace(a=1).a
namespace(a=1).b is defined
namespace(a=1)['a']
namespace(_a=1)
cycler('a', 'b').next()
cycler()
joiner(',')()
d.a.x is sameas d.a.x
n.real + n.imag
f.is_integer()
(4.0).is_integer()
n.bit_length()
s.__class__
s.__class__.__mro__
s.upper.__self__
''.__class__ is defined
d._x is defined
{'_x': 1}._x
{'__class__': 1}.__class__ is defined
{'__class__': 1}['__class__']
l.append(1)
l.append
l.append is defined
l.pop()
d.update({})
d.pop('b')
d.setdefault('b', 1)
d.clear()
l.sort()
l.copy()
l.index(1)
l.index(9)
l.count(1)
(1, 2).index(2)
d.copy()
s.nope()
s()
n()
none()
l.0()
'{}'.format
"""
)

METHODS = e(
    r"""
s.capitalize()
u.capitalize()
'HELLO wORLD'.capitalize()
u.casefold()
'x'.center(4, '*')
'x'.center(5, '*')
'xy'.center(5, '*')
'x'.center(0)
'x'.center(4, 'ab')
'x'.center('a')
'banana'.count('an')
'banana'.count('a', 2)
'banana'.count('a', 2, 4)
'banana'.count('')
'banana'.count(1)
s.encode()
u.encode('utf-8')
'abc'.encode('ascii')
'é'.encode('ascii')
'é'.encode('latin-1')
'abc'.encode().decode()
'abc'.encode()[0]
'banana'.endswith('na')
'banana'.endswith(('x', 'na'))
'banana'.endswith('na', 0, 4)
'banana'.endswith('')
'banana'.endswith(1)
'a\tb'.expandtabs(4)
'a\tbc\td'.expandtabs()
'a\tb'.expandtabs(tabsize=0)
'banana'.find('n')
'banana'.find('n', 3)
'banana'.find('x')
'banana'.find('n', -2)
'größe'.find('e')
'banana'.find('', 10)
'banana'.rfind('n')
'banana'.rfind('n', 0, 4)
'banana'.index('n')
'banana'.index('x')
'banana'.rindex('n')
'banana'.rindex('x')
['abc'.isalnum(), 'a1'.isalnum(), 'a '.isalnum(), ''.isalnum(), 'é²'.isalnum()]
['abc'.isalpha(), 'a1'.isalpha(), 'ßé'.isalpha(), '数'.isalpha()]
['abc'.isascii(), 'é'.isascii(), ''.isascii()]
['12'.isdecimal(), '²'.isdecimal(), '٣'.isdecimal(), ''.isdecimal()]
['12'.isdigit(), '²'.isdigit(), '½'.isdigit()]
['12'.isnumeric(), '½'.isnumeric(), '五'.isnumeric(), '-1'.isnumeric()]
['abc'.isidentifier(), '1a'.isidentifier(), '_é'.isidentifier(), 'a b'.isidentifier()]
['abc'.islower(), 'aB'.islower(), '1'.islower(), 'a1'.islower()]
['ABC'.isupper(), 'aB'.isupper(), '1'.isupper(), 'A1'.isupper()]
['Ab Cd'.istitle(), 'Ab cd'.istitle(), 'AB'.istitle(), ''.istitle(), "It'S".istitle()]
[' \t\n'.isspace(), ''.isspace(), 'a'.isspace(), '\u2003'.isspace()]
['abc'.isprintable(), 'a\n'.isprintable(), ''.isprintable(), '\u200b'.isprintable()]
','.join(['a', 'b'])
','.join('abc')
','.join(d)
','.join([1])
','.join(n)
'x'.ljust(4, '-')
'x'.rjust(4, '-')
u.lower()
s.upper()
'  x '.lstrip() ~ '|'
'  x '.rstrip() ~ '|'
'  x '.strip() ~ '|'
'xyxaxy'.strip('xy')
'xyxaxy'.lstrip('xy')
'xyxaxy'.rstrip('xy')
'\u00a0\x1fx\u3000'.strip()
'a'.strip(1)
'a'.strip(chars='a')
'abc'.maketrans('ab', 'xy')
'abc'.translate('abc'.maketrans('ab', 'xy', 'c'))
'abc'.translate({97: none, 98: 'zz', 99: 100})
'a-b-c'.partition('-')
'abc'.partition('-')
'abc'.rpartition('-')
'abc'.partition('')
'abc'.removeprefix('a')
'abc'.removeprefix('b')
'abc'.removesuffix('c')
'abc'.removesuffix('')
'aXbXc'.replace('X', '-')
'aXbXc'.replace('X', '-', 1)
'aXbXc'.replace('', '.')
'aXbXc'.replace('X', '-', count=1)
'aXbXc'.replace('X')
'aXbXc'.replace('X', 1)
'a,b,c'.split(',')
'a,b,c'.split(',', 1)
'a,b,c'.split(',', maxsplit=1)
'a,b,c'.split(sep=',')
'a,b,c'.split('')
' a  b '.split()
' a  b '.split(' ')
' a  b c '.split(none, 1)
' a  b c '.split(maxsplit=1)
''.split()
''.split(',')
'a,b,c'.split(1)
'a,b,c'.rsplit(',', 1)
' a  b c '.rsplit(maxsplit=1)
' a  b c '.rsplit()
'a\nb\r\nc\x0bd\u2028e'.splitlines()
'a\nb\n'.splitlines(true)
'a\nb\n'.splitlines(keepends=true)
''.splitlines()
'a\nb'.splitlines('x')
'banana'.startswith('ba')
'banana'.startswith('na', 2)
'banana'.startswith(('x', 'b'))
'banana'.startswith(['b'])
'banana'.startswith('b', 0, 0)
'aBc ß'.swapcase()
"hello world it's 1st".title()
u.title()
'-5'.zfill(4)
'+5'.zfill(4)
'abc'.zfill(2)
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format(1, 'a')
'{a} {b!r}'.format(a=1, b='x')
'{0.real} {1[k]} {2[0]}'.format(n, o[0], l)
'{:>5}|{:<5}|{:^5}|{:*^5}'.format('a', 'b', 'c', 'd')
'{:5}|{:5}'.format('a', 1)
'{:.2f} {:.0f} {:e} {:g} {:%}'.format(f, f, f, f, f)
'{:d} {:x} {:X} {:o} {:b} {:#x} {:c}'.format(42, 42, 42, 42, 42, 42, 42)
'{:+d} {: d} {:05d} {:,} {:_}'.format(42, 42, 42, 1234567, 1234567)
'{:,.2f} {:012,.1f} {:<10.3}|'.format(1234567.891, 1234.5, 3.14159)
'{:.3} {:.3} {:10.2}|'.format('abcdef', 1.23456, 'abc')
'{:g} {:g} {:g} {:g}'.format(1e10, 1e-10, 100000.0, 1234567.0)
'{:{}}|{:{w}.{p}f}'.format('a', 4, f, w=8, p=3)
'{!s} {!r} {!a}'.format('é', 'é', 'é')
'{{}} {}'.format(1)
'{} {0}'.format(1)
'{}'.format()
'{x}'.format(1)
'{'.format(1)
'}'.format(1)
'{:d}'.format('a')
'{:s}'.format(1)
'{:5}'.format(none)
'{}'.format(none)
'{:5}|{}'.format(true, true)
'{.__class__}'.format(1)
'{0.upper}'.format(none)
'{:x}'.format(1.5)
'{a}'.format_map({'a': 1})
'{a}'.format_map({'b': 1})
'%s %r %d %i %5d|%-5d|%05d' % ('a', 'a', 1, 2.9, 3, 4, 5)
'%f %.1f %e %g %G' % (1, 2.25, 3, 0.00001, 1e20)
'%x %X %o %#x %#o %c %c' % (255, 255, 8, 255, 8, 'a', 98)
'%+d % d %+.1f %%' % (1, 2, 3.0)
'%10s|%-10s|%.2s' % ('a', 'b', 'abc')
'%*d|%-*d|%.*f' % (5, 1, 5, 2, 2, 3.14159)
'%(a)s %(b)05.1f' % {'a': 1, 'b': 2.5}
'%(a)s' % {'b': 1}
'%(a)s' % 1
'%s' % l
'%s' % (l,)
'%s' % d
'%s' % none
'%s' % missing
'%d' % missing
'%s %s' % 'a'
'%s' % ('a', 'b')
'a' % ()
'a' % 1
'a' % l
'a' % d
'%d' % 'a'
'%d' % 1.9
'%x' % 1.5
'%z' % 1
'%' % 1
'%5%|' % ()
'%a' % 'é'
'%s%s' % (1, 2) ~ '%s' % 3
'%d%%' % 50
'%s' % 'a' * 2
2 * '%s' % 'a'
d.get()
d.get('a', 1, 2)
d.get(l)
d.items() | first
d.keys() is sequence
d.values() | list | length
'b' in d.keys()
1 in d.values()
('b', 1) in d.items()
d.keys()[0] is defined
d.items() | list | first | last
d.keys
d.fromkeys([1, 2])
"""
)

STATEMENTS = t(
    r"""
{% for i in l %}{{ i }}{% endfor %}
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}
{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }};{% endfor %}
{% for i in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}
{% for i in l %}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}
{% for i in [1, 1, 2, 2, 1] %}{{ loop.changed(i) }}{% endfor %}
{% for i in [1, 1, 2] %}{{ loop.changed(i, 1) }}{{ loop.changed() }}{% endfor %}
{% for i in l %}{{ loop.cycle() }}{% endfor %}
{% for i in l %}{{ loop.nope is defined }}{% endfor %}
{% for i in l %}{{ loop }}{% endfor %}
{% for i in l %}{{ loop(i) }}{% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %}
{% for i in l %}x{% else %}empty{% endfor %}
{% for i in l %}{% break %}{% else %}empty{% endfor %}
{% for i in l %}{% continue %}{% else %}empty{% endfor %}
{% for i in missing %}x{% else %}empty{% endfor %}
{% for i in none %}x{% endfor %}
{% for i in 5 %}x{% endfor %}
{% for c in 'abc' %}{{ c }}-{% endfor %}
{% for k in d %}{{ k }}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
{% for k, v in d | dictsort %}{{ k }}{% endfor %}
{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}{{ b }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for a, b in [(1,)] %}{{ a }}{% endfor %}
{% for a, b in l %}{{ a }}{% endfor %}
{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for (a, b) in [(1, 2)] %}{{ a }}{% endfor %}
{% for i in l if i > 1 %}{{ i }}{{ loop.index }}{{ loop.last }}{{ loop.length }}{% endfor %}
{% for i in l if i > 5 %}x{% else %}none{% endfor %}
{% for i in l if loop.first %}{{ i }}{% endfor %}
{% for i in range(6) if i is odd %}{{ loop.revindex }}{{ loop.nextitem }};{% endfor %}
{% for i in l | sort %}{{ i }}{% endfor %}
{% for i in l %}{% for j in l %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}
{% for i in l %}{% set outer = loop %}{% for j in l %}{{ outer.index }}{% endfor %}{% endfor %}
{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}
{% for i in l %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% break %}
{% if true %}{% continue %}{% endif %}
{% for i in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for i in l %}{% with %}{% break %}{% endwith %}{% endfor %}ok
{% for i in l %}{% set x %}a{% break %}{% endset %}{{ x }}{% endfor %}{{ x }}
{% for i in [1, [2, [3]]] recursive %}{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}@{{ loop.depth }}{% endif %}{% endfor %}
{% for n in [{'n': 1, 'c': [{'n': 2, 'c': []}]}] recursive %}{{ n.n }}{% if n.c %}[{{ loop(n.c) }}]{% else %}.{% endif %}{% endfor %}
{% for i in [] recursive %}x{% else %}empty{% endfor %}
{% for i in l %}{{ i }}{% endfor %}{{ i }}
{% for n in l %}{% endfor %}{{ n }}
{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}
{% set x = 1 %}{% for i in l %}{{ x }}{% set x = x + i %}{% endfor %}
{% for i in l %}{% if loop.first %}{% set x = i %}{% endif %}{{ x }}{% endfor %}
{% for i in l %}{% set loop = 1 %}{% endfor %}
{% for loop in l %}{% endfor %}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}
{% set x = none[1:] %}{{ x }}
{% if none[1:] %}{% endif %}
{% set x = not none[1:] %}{{ x }}
{% set x = [none[1:]] %}
{% if none[1:] == [] %}a{% else %}b{% endif %}
{% for x in none[1:] %}{% endfor %}
{% for x in none[1:] | string %}{% else %}none{% endfor %}
{% set x = 5 | batch(2) %}ok
{% set x = 5 | slice(2) %}ok
{% set x = [[]] | unique %}ok
{{ '' | wordwrap('a') }}
{% if false %}{% set x = 2 %}{% endif %}{{ x is defined }}
{% if false %}{% set n = 2 %}{% endif %}{{ n }}
{% if true %}{% set n = 2 %}{% else %}{% set n = 3 %}{% endif %}{{ n }}
{% if false %}{% elif true %}{% set n = 2 %}{% endif %}{{ n }}
{{ n }}{% set n = 2 %}{{ n }}
{% set tools = tools or [] %}{{ tools }}
{% if not tools is defined %}{% set tools = none %}{% endif %}{{ tools is none }}
{% if not nothere is defined %}{% set nothere = false %}{% endif %}{{ nothere }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}
{% set a, b = [1, 2] %}{{ b }}
{% set (a, b) = 'xy' %}{{ a }}
{% set a, b = 1 %}
{% set a = 1, 2 %}{{ a }}
{% set a = b = 1 %}
{% set true = 1 %}
{% set a.b = 1 %}
{% set d.b = 1 %}
{% set a[0] = 1 %}
{% set 1 = 1 %}
{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}{% set ns.y = ns.x + 1 %}{{ ns.y }}{{ ns }}
{% set ns = namespace(n=0) %}{% for i in l %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}
{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}
{% set ns = namespace() %}{% set ns._a = 1 %}
{% set ns = namespace() %}{{ ns.x is defined }}{{ ns.x }}
{% set ns = namespace(a=[]) %}{% set ns.a = ns.a + [1] %}{{ ns.a }}
{% set x %}a{{ n }}b{% endset %}[{{ x }}]
{% set x | upper %}abc{% endset %}{{ x }}
{% set x | replace('a', 'b') | upper %}abc{% endset %}{{ x }}
{% set x %}{% for i in l %}{{ i }}{% endfor %}{% endset %}{{ x | length }}
{% set ns = namespace() %}{% set ns.x %}abc{% endset %}{{ ns.x }}
{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y }}
{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a }}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}
{% with n = n + 1 %}{{ n }}{% endwith %}{{ n }}
{% with a = 1, b = a %}{{ b }}{% endwith %}
{% with a, b = (1, 2) %}{{ b }}{% endwith %}
{% filter upper %}abc{{ s }}{% endfilter %}
{% filter replace('a', 'b') | upper %}abc{% endfilter %}
{% filter indent(2) %}a\nb{% endfilter %}
{% filter length %}abc{% endfilter %}
{% filter nope %}{% endfilter %}
{% macro m() %}x{% endmacro %}{{ m() }}{{ m() | upper }}
{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }};{{ m(1, 3) }};{{ m(b=4, a=5) }};{{ m() }}
{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(missing) }}{{ m(none) }}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}
{% macro m(a=b, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m() }}
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}
{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, c=4) }}
{% macro m() %}{{ varargs | length }}{% endmacro %}{{ m() }}{{ m(1, 2) }}
{% macro m() %}{{ kwargs.x }}{% endmacro %}{{ m(x=1) }}{{ m() }}
{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(1, *[2]) }}
{% macro m(a=1, b) %}{% endmacro %}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.caller }}{{ m.catch_kwargs }}{{ m.catch_varargs }}{{ m }}
{% macro m() %}{{ n }}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}
{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% set x = 1 %}
{% set x = 1 %}{% macro m() %}{% set x = 2 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}
{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}
{% for i in l %}{% macro m() %}{% endmacro %}{% endfor %}{{ m is defined }}
{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}
{{ m() }}{% macro m() %}x{% endmacro %}
{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}
{% macro m() %}  x  {% endmacro %}[{{ m() | trim }}]
{% macro m() -%} x {%- endmacro %}[{{ m() }}]
{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}body{{ n }}{% endcall %}
{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}
{% macro m() %}{{ caller(1) }}{% endmacro %}{% call(a, b=3) m() %}{{ a }}{{ b }}{% endcall %}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}{% endcall %}
{% macro m(caller) %}{{ caller() }}{% endmacro %}
{% macro m(caller=none) %}{{ caller() if caller else 'no' }}{% endmacro %}{{ m() }}{% call m() %}yes{% endcall %}
{% macro m(x) %}[{{ caller() }}{{ x }}]{% endmacro %}{% call m(1) %}{% call m(2) %}in{% endcall %}{% endcall %}
{% call range(3) %}{% endcall %}
{% call s.upper() %}{% endcall %}
{% call n %}{% endcall %}
{% set x = 1 %}{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ x }}{% set x = 2 %}{{ x }}{% endcall %}{{ x }}
{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}
{% if zero %}a{% elif e %}b{% elif l %}c{% endif %}
{% if missing %}a{% else %}b{% endif %}
{% if missing.x %}a{% endif %}
{% if t and not zero %}a{% endif %}
{% if 1, 2 %}a{% endif %}
{% if false %}{{ 1 | nofilter }}{% endif %}ok
{% if true %}{{ 1 | nofilter }}{% endif %}ok
{{ 1 | nofilter if false else 'ok' }}
{% if false %}{{ 1 is notest }}{% endif %}ok
{% if false %}{% for i in l %}{{ 1 | nofilter }}{% endfor %}{% endif %}
{% raw %}{{ x }}{% y %}{# z #}{% endraw %}
{% raw -%}  a  {%- endraw %}b
{%- raw %} a {% endraw -%} b
{% raw %}\na\n{% endraw %}\nb
{% raw %}
{# comment #}a{# {{ x }} {% y %} #}
a {#- b -#} c
a {# b #}\n c
  {# b #}\n c
{# unclosed
{{ unclosed
{% if
{% if true %}
{% endif %}
{% endfor %}
{% nope %}
{% for i in l %}{% endif %}
{{ }}
{{ a b }}
{{ 1 2 }}
{{ (1 }}
{{ [1 }}
{{ {'a' 1} }}
{{ {1, 2} }}
{{ 'unclosed }}
{{ a.}}
{{ a | }}
{{ a is }}
{{ a ? b }}
{{ a && b }}
{{ !a }}
{{ lambda }}
{{ [x for x in l] }}
{{ a if }}
{{ f(a=1, 2) }}
{{ f(**a, *b) }}
{{ dict(a=1, a=2) }}
{% print n, s %}
{% print n %}{% print %}
{% block a %}x{{ n }}{% endblock %}
{% block a %}x{% endblock %}{{ self.a() }}
{% block a %}x{% endblock a %}{% block a %}{% endblock %}
{% set q = 5 %}{% block a %}{{ q }}{% endblock %}
{% for i in l %}{% block a %}{{ i }}{% endblock %}{% endfor %}
{% for i in l %}{% block a scoped %}{{ i }}{{ loop.index }}{% endblock %}{% endfor %}
{% block a %}{{ super() }}{% endblock %}
{% block a required %}{% endblock %}
{% extends 'x' %}
{% include 'x' %}
{% include 'x' ignore missing %}
{% import 'x' as y %}
{% from 'x' import y %}
{% if false %}{% include 'x' %}{% endif %}ok
{% autoescape true %}{{ '<' }}{{ '<' | safe }}{{ html ~ (e | safe) }}{% endautoescape %}{{ '<' }}
{% autoescape false %}{{ '<' }}{% endautoescape %}
{% autoescape true %}{% set x %}<{% endset %}{{ x }}{{ ['<', '>' | safe] | join('&') }}{% endautoescape %}
{% do l.append(1) %}
{% trans %}x{% endtrans %}
{% generation %}a{{ n }}{% endgeneration %}
{%- generation -%} a {%- endgeneration -%} b
{% for i in l %}{% generation %}{{ i }}{% endgeneration %}{% endfor %}
{% generation %}{% set x = 1 %}{{ x }}{% endgeneration %}{{ x }}
{% set x %}{% generation %} a {% endgeneration %}{% endset %}{{ x | trim }}
{% generation x %}{% endgeneration %}
{% generation %}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.pos }}{{ c.items }}{{ c.reset() }}{{ c.next() }}
{% set j = joiner() %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}
{% set j = joiner(' | ') %}{{ j() }}{{ j() }}{{ j.sep }}{{ j.used }}
{{ raise_exception('no') }}
{% if false %}{{ raise_exception('no') }}{% endif %}ok
{{ raise_exception() }}
{% set x = l | map('string') %}{{ x | join }}{{ x | join }}
{% set x = l | select('odd') %}{% for i in x %}{{ i }}{% endfor %}{% for i in x %}{{ i }}{% endfor %}
{% set x = [1, 2] | reverse %}{{ x | list }}{{ x | list }}
{% set x = l | map('nofilter') %}ok
{% set x = l | map(attribute='a.b') %}ok
{% set x = [1, 'a'] | map('round') %}{% for i in x %}{{ i }}{% endfor %}
{% for g in o | groupby('k') %}{{ g.grouper }}:{{ g.list | length }}{{ g[0] }}{% endfor %}
{% for k, group in o | groupby('k') %}{{ k }}{% for x in group %}{{ x.v }}{% endfor %};{% endfor %}
{% for x in l | batch(2) %}{{ x }}{{ loop.last }}{% endfor %}
{% for x in l | map('string') %}{{ loop.length }}{{ loop.revindex }}{{ x }}{% endfor %}
{% set ns = namespace(stop=false) %}{% for i in range(5) if not ns.stop %}{{ i }}{% if i == 2 %}{% set ns.stop = true %}{% endif %}{% endfor %}
{% set x = [] %}{% for i in l %}{% set x = x + [i] %}{% endfor %}{{ x }}
{% set x = 1 %}{% set y = x %}{% set x = 2 %}{{ y }}{{ x }}
{% set items = [] %}{% if items.append(1) %}{% endif %}{{ items }}
{% set m = messages[0] %}{{ m.role ~ ': ' ~ m['content'] }}
{%- for message in messages %}{%- if message['role'] == 'user' %}{{- '[INST] ' + (message['content'] if message['content'] is string else message['content'] | map(attribute='text') | select | join) + ' [/INST]' -}}{%- endif %}{%- endfor %}
{% for m in messages if m.role != 'system' %}{{ loop.index0 % 2 == 0 }}{{ m.role }}{% endfor %}
{{ messages | map(attribute='role') | unique | join(',') }}
{{ messages | tojson }}
{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}{{ loop_messages | length }}{{ system }}
{{ "a\nb\tc\\d\'e\"f\x41\u00e9\U0001F600\101\q\é" }}
{{ 'a\
b' }}
{{ 'line
break' }}
{{ "\x4" }}
{{ '\a\b\f\v' | pprint }}
{{ 'tab	' | tojson }}
{{ [ 'é', '\n', "'", '"', '\'"', '\x00', '\u200b', '🙂' ] }}
{{ {'a': {'b': [none, true, 1.5, (1,), {}]}} }}
{{ ((), [], {}, '', ((1,),)) }}
{{ [missing, namespace, d.nope] | length }}
{{ [missing] }}
"""
) + [
    "  {% if true %}\n  a\n  {% endif %}\nb\n",
    "  {%+ if true %}\n  a\n  {%+ endif %}\nb",
    "  {% if true +%}\n  a\n  {% endif +%}\nb",
    "  {%- if true -%}\n  a\n  {%- endif -%}\nb",
    "a\n\n  {%- if true %}\n\n  b{% endif %}  \n c",
    "a {{- n }} b {{ n -}} c {{+ n }} d",
    "a\n  {{ n }}\n  {{- n -}}\n  b\n",
    "  {{ n }}  \n",
    "a {% if true %} b {% endif %} c",
    "\ta\t{% if true %}\n\tb\n\t{% endif %}\n",
    "x  {% if true %}y{% endif %}\n  {# c #}\n  z",
    "{% for i in l %}\n    {{ i }}\n{% endfor %}\n",
    "{% for i in l -%}\n    {{ i }}\n{%- endfor %}\n",
    "a\n",
    "a\n\n",
    "\n",
    "",
    "a\r\nb\r\n",
    "a\rb",
    "{{ 'a\r\nb' }}",
    "  {% raw %}\n  x\n  {% endraw %}\n  y",
    "a\n  {# c #}\n  b\n{# d -#}\n  c",
    "{% set x = 1 %}\n{% set y = 2 %}\n{{ x }}\n{{ y }}\n",
    "\u00a0{% if true %}a{% endif %}",
    "a\n\u2003{% if true %}b{% endif %}",
    "{{ n\n}}{{\n\nn }}{% if\ntrue\n%}x{%\nendif %}",
    "{{'a'}}{{\"b\"}}{%if true%}c{%endif%}{%-if true-%} d {%-endif-%}",
    "{{ {'a': {'b': 1}}['a']['b'] }}}}",
    "{ { } } {x} {%% if",
    "{{ '{{' }}{{ '}}' }}{{ '{%' }}{{ '%}' }}{{ '#}' }}",
    "{# a #}{# b\n c #}\n{# d #}x",
    "{%- macro m() %}\n  {%- if true %}\n    x\n  {%- endif %}\n{%- endmacro -%}\n[{{ m() }}]",
    "{% if true: %}a{% endif %}",
    "{{ größe }}{% set größe = 1 %}{{ größe }}",
    "{{ 1.5.real }}{{ 1.real }}",
    "{{ d.a.x.1 is none }}",
    "{% set x = {\n  'a': 1,\n  'b': [1, 2,],\n} %}{{ x }}",
    "{{ (1, 2,) }}{{ [1,] }}{{ dict(a=1,) }}",
    "{% for x in (1, 2, 3) %}{{ x }}{% endfor %}{% for x in 1, 2 %}{{ x }}{% endfor %}",
    "{{ range(3) | map('multiply') | list if false }}",
    "{% set x = (n if t else s) if e else 'z' %}{{ x }}",
]


def run(template, context):
    # `indent` changes a list that it is given.
    context = copy.deepcopy(context)
    try:
        return compiled(template).render(**context)
    except Exception:
        return None


def expressions():
    seen, cases = set(), []
    for template in [*SEEN, *FILTERS, *TESTS, *OPERATORS, *METHODS, *STATEMENTS]:
        if template in seen:
            continue
        seen.add(template)
        expected = run(template, CONTEXT)
        if expected is None or not LOOSE.search(expected):
            cases.append([template, expected])
    path = pathlib.Path(__file__).parent / "templates" / "expressions.json"
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    context = json.dumps(CONTEXT, ensure_ascii=False)
    path.write_text('{"context": ' + context + ',\n"cases": [\n' + lines + "\n]}\n", newline="\n")
    print(len(cases), "templates,", sum(case[1] is None for case in cases), "of which fail")


USER = {"role": "user", "content": "What is the weather in Zürich? <b>\"now\"</b>"}
ANSWER = {"role": "assistant", "content": "It is sunny."}
SYSTEM = {"role": "system", "content": "You are terse.\nAnswer in one line."}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Looks up the weather.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where"},
                "days": {"type": "array", "items": {"type": "integer"}, "default": [1]},
                "unit": {"type": ["string", "null"], "enum": ["C", "F", None]},
            },
            "required": ["city"],
        },
    },
}


def calls(arguments):
    call = {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


ARGUMENTS = {"city": "Zürich", "days": [1, 2.5], "deep": {"a": None, "b": True}}
RESULT = {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": '{"sky": "clear"}'}
PARTS = {"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "text", "text": "here"}]}
THINKING = {"role": "assistant", "content": "Sunny.", "reasoning_content": "The user asks.\nI look."}


def conversations():
    plain = [SYSTEM, USER, ANSWER, USER]
    with_calls = [USER, calls(ARGUMENTS), RESULT, ANSWER, USER]
    yield {"messages": [USER]}
    yield {"messages": [USER], "add_generation_prompt": True}
    yield {"messages": plain, "add_generation_prompt": True}
    yield {"messages": [*plain, ANSWER]}
    yield {"messages": [USER, USER], "add_generation_prompt": True}
    for tools in (None, [], [TOOL], [TOOL, TOOL]):
        yield {"messages": plain, "tools": tools, "add_generation_prompt": True}
    yield {"messages": with_calls, "tools": [TOOL], "add_generation_prompt": True}
    yield {"messages": with_calls, "tools": None, "add_generation_prompt": True}
    as_text = calls(json.dumps(ARGUMENTS, ensure_ascii=False))
    yield {"messages": [SYSTEM, USER, as_text, RESULT], "tools": [TOOL], "add_generation_prompt": True}
    empty = {"role": "assistant", "content": "", "tool_calls": calls(ARGUMENTS)["tool_calls"] * 2}
    yield {"messages": [USER, empty, RESULT, RESULT, ANSWER], "tools": [TOOL]}
    yield {"messages": [PARTS], "add_generation_prompt": True}
    yield {"messages": [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, PARTS, ANSWER, PARTS]}
    yield {"messages": [USER, THINKING, USER, THINKING], "tools": [TOOL]}
    embedded = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nSunny."}
    yield {"messages": [USER, embedded, USER], "add_generation_prompt": True}
    for thinking in (True, False):
        variables = {"enable_thinking": thinking, "thinking": thinking, "reasoning_effort": "low"}
        yield {"messages": plain, "add_generation_prompt": True, "variables": variables}
        yield {"messages": with_calls, "tools": [TOOL], "add_generation_prompt": True, "variables": variables}
    documents = {"documents": [{"title": "A", "text": "b"}]}
    yield {"messages": [USER], "add_generation_prompt": True, "variables": documents}
    yield {"messages": []}


TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def published(folder, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    total = failed = 0
    for path in sorted(pathlib.Path(folder).rglob("*.jinja")):
        source = path.read_bytes().decode()
        cases = []
        for case in conversations():
            variables = {**TOKENS, **case.get("variables", {})}
            try:
                text = reference.render_jinja_template(
                    [case["messages"]],
                    tools=case.get("tools"),
                    documents=variables.pop("documents", None),
                    chat_template=source,
                    add_generation_prompt=case.get("add_generation_prompt", False),
                    **variables,
                )[0][0]
                cases.append({**case, "expected": text})
            except Exception as error:
                cases.append({**case, "expected": None, "error": f"{type(error).__name__}: {error}"})
                failed += 1
            total += 1
        name = "-".join(path.relative_to(folder).with_suffix("").parts) + ".json"
        made = {"template": source, "tokens": TOKENS, "time": int(Stopped.now().timestamp()), "cases": cases}
        (out / name).write_text(json.dumps(made, ensure_ascii=False, indent=1))
    print(total, "renderings, of which", failed, "fail")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        published(*sys.argv[1:])
    else:
        expressions()

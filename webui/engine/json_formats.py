"""The formats of JSON Schema that a grammar can keep, for the inside of a JSON string.

Each is the common form of what its source allows, of bounded length, and goes on in one way after
each character as far as that can be said. To the standard a format is an annotation: others than
these are plain strings.

Source: RFC 3339 (dates, times, durations), RFC 5321 and 1123 (addresses, hosts), RFC 3986 (URIs),
RFC 4291 (IPv6), RFC 9562 (UUIDs), RFC 4648 (base64).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from webui.engine.json_rules import Expression

NUM_GROUPS = 8  # of an IPv6 address


@dataclass(frozen=True, slots=True)
class Format:
    """A format.

    Attributes:
        body: What stands between the quotes.
        shortest: Characters of its shortest text.
        longest: Characters of its longest text.
    """

    body: Expression
    shortest: int
    longest: int

    def fits(self, low: int, high: int | None) -> bool:
        """Return whether all its texts have from `low` to `high` characters."""
        return low <= self.shortest and (high is None or self.longest <= high)


def _ipv6_rules() -> dict[str, Expression]:
    """Return rules by how many groups were written; two colons stand once, for one or more."""
    rules = {"ip6": f'group ip6-1 | "::" ip6-t{NUM_GROUPS - 1}', "ip6-t0": '""'}
    for count in range(1, NUM_GROUPS):
        more = f"group ip6-{count + 1}" if count + 1 < NUM_GROUPS else "group"
        rules[f"ip6-{count}"] = f'":" ({more} | ":" ip6-t{NUM_GROUPS - 1 - count})'
        rules[f"ip6-t{count}"] = f'(group (":" group){{0,{count - 1}}})?'
    return rules


FORMAT_RULES: dict[str, Expression] = {
    "date": (
        '[0-9]{3} [1-9] "-" ("0" ([13578] "-" day31 | [469] "-" day30 | "2-" day28)'
        ' | "1" ([02] "-" day31 | "1-" day30))'
    ),
    "day28": '"0" [1-9] | "1" [0-9] | "2" [0-8]',
    "day30": '"0" [1-9] | [12] [0-9] | "30"',
    "day31": '"0" [1-9] | [12] [0-9] | "3" [01]',
    "zone": '"Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]',
    "time": '([01] [0-9] | "2" [0-3]) (":" [0-5] [0-9]){2} ("." [0-9]{1,6})? zone',
    "count": "[0-9]{1,6}",
    "days": '"D" clock?',
    "clock": '"T" count ("S" | "M" (count "S")? | "H" (count "M" (count "S")?)?)',
    "months": '"M" (count days | clock)?',
    "span": '"P" (clock | count ("W" | days | months | "Y" (count months | clock)?))',
    "word": '[a-zA-Z0-9] ("-"? [a-zA-Z0-9]){0,30}',
    "name": '[a-zA-Z] ("-"? [a-zA-Z0-9]){0,30}',
    "name2": '[a-zA-Z] ("-"? [a-zA-Z0-9]){1,30}',
    "mailbox": "[a-zA-Z0-9_] ([-._+]? [a-zA-Z0-9_]){0,30}",
    "octet": '"0" | "1" [0-9]{0,2} | "2" ([0-4] [0-9]? | "5" [0-5]? | [6-9])? | [3-9] [0-9]?',
    "ip4": 'octet ("." octet){3}',
    "group": "hex{1,4}",
    "site": 'name ("." name){0,4} | ip4',
    "port": (
        '":" ([1-5] [0-9]{0,4} | "6" ([0-4] [0-9]{0,3} | [5-9] [0-9]{0,2})? | [7-9] [0-9]{0,3})'
    ),
    "mark": '[a-zA-Z0-9._~!$&\'()*+,;=@-] | "%" hex hex',
    "tail": '("?" (mark | [/?:]){0,200})? ("#" (mark | [/?:]){0,50})?',
    "path": '("/" (mark | [/:]){0,200})?',
    "uri": (
        '[a-zA-Z] [a-zA-Z0-9+.-]{0,15} ":"'
        ' ("//" site port? path tail | [a-zA-Z0-9._~+-] (mark | [/:]){0,200} tail)'
    ),
    "place": '("/" (mark (mark | [/:]){0,200})? | mark (mark | "/"){0,200})? tail',
    "quads": "[a-zA-Z0-9+/]{4}",
} | _ipv6_rules()


def _uuid(version: str) -> Format:
    ends = f'hex{{8}} "-" hex{{4}} "-{version}" hex{{3}} "-" [89abAB] hex{{3}} "-" hex{{12}}'
    return Format(ends, 36, 36)


FORMATS = {
    "date": Format("date", 10, 10),
    "time": Format("time", 9, 21),
    "date-time": Format('date "T" time', 20, 32),
    "duration": Format("span", 3, 44),
    "uuid": Format('hex{8} "-" (hex{4} "-"){3} hex{12}', 36, 36),
    "email": Format('mailbox "@" word ("." name2){1,3}', 6, 309),
    "hostname": Format('name ("." name){0,3}', 1, 247),
    "ipv4": Format("ip4", 7, 15),
    "ipv6": Format("ip6", 2, 39),
    "uri": Format("uri", 3, 1687),
    "uri-reference": Format("uri | place", 0, 1687),
    "byte": Format(
        'quads{0,200} ([a-zA-Z0-9+/] ([AQgw] "==" | [a-zA-Z0-9+/] [AEIMQUYcgkosw048] "="))?', 0, 804
    ),
}
FORMATS |= {f"uuid{version}": _uuid(version) for version in "1345678"}
FORMATS |= {
    "base64": FORMATS["byte"],
    "idn-email": FORMATS["email"],
    "idn-hostname": FORMATS["hostname"],
    "iri": FORMATS["uri"],
    "iri-reference": FORMATS["uri-reference"],
    "url": FORMATS["uri"],
}

LITERAL_OR_CLASS = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]')
NAME = re.compile(r"[a-z][a-z0-9-]*")


def rules_for(body: Expression) -> dict[str, Expression]:
    """Return the rules of formats that an expression names, and those that these name."""
    found: dict[str, Expression] = {}
    unseen = [body]
    while unseen:
        for name in NAME.findall(LITERAL_OR_CLASS.sub(" ", unseen.pop())):
            if name in FORMAT_RULES and name not in found:
                found[name] = FORMAT_RULES[name]
                unseen.append(found[name])
    return found

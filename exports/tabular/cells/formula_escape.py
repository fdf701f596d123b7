"""Text that no spreadsheet runs as a formula, whichever separator it is told to split at."""

import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from functools import cache
from itertools import accumulate
from typing import Final

from exports.exceptions import FormulaRejected
from exports.tabular.columns import ConversionContext

# What a spreadsheet may take for the beginning of a formula, and what may stand before it and hide it: white space,
# quotes, characters without a width. Both are parts of a regular expression's class.
FORMULA_STARTS: Final = "=+\\-@\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20"
IGNORED_BEFORE_FORMULA: Final = (
    "\\s\"'`\u00ab\u00ad\u00bb\u061c\u180e\u200b-\u200f\u2018-\u201f\u202a-\u202e\u2060-\u206f\ufeff"
)
CONTROL_CHARACTERS: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff"
SURROGATES: Final = "\ud800-\udfff"

_CONTROL = re.compile(f"[{CONTROL_CHARACTERS}]")
_SURROGATE = re.compile(f"[{SURROGATES}]")
_UNFIT = re.compile(f"[{CONTROL_CHARACTERS}{SURROGATES}]")
_MAY_HIDE = re.compile(f"[{IGNORED_BEFORE_FORMULA}{FORMULA_STARTS}]")
_STARTS_FORMULA = re.compile(f"[{IGNORED_BEFORE_FORMULA}]*[{FORMULA_STARTS}]|[\t\r\n]")
_FORMULA_CHARACTERS: Final = tuple("=+-@\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20")


def escape_formulas(texts: Sequence[str], rules: ConversionContext) -> list[str]:
    """Harmless texts, in the mode of `rules.formulas`; every change is counted.

    Control characters other than TAB, LF and CR are deleted, lone surrogates become U+FFFD. An apostrophe is put before
    a text that starts (after white space, quotes and invisible characters) with one of = + - @ or a wide form of them,
    or that starts with TAB, CR or LF; and before such a character after an inner CR, LF, semicolon or TAB, or comma
    where the delimiter is another (a file between commas has quotes there, and a reader that splits at commas knows
    them). Found by opening hostile cells in LibreOffice with each separator; quotes help against their own only.

    "raw" replaces surrogates only. "reject" raises FormulaRejected where "escape" would put an apostrophe.
    """
    if rules.formulas == "raw":
        return [_replaced(text, rules) for text in texts] if _SURROGATE.search("".join(texts)) else list(texts)
    guarded = list(texts)
    for place in _suspects(texts, rules.delimiter):
        guarded[place] = _harmless(_without_controls(_replaced(texts[place], rules), rules), rules)
    return guarded


def _suspects(texts: Sequence[str], delimiter: str) -> Collection[int]:
    """The places of the texts that may have to change. Most columns have none, and are known by their characters."""
    joined = " ".join(texts)
    if not joined.isprintable():
        # Line feeds are the commonest of what is not printable, and fit.
        unfit = () if joined.replace("\n", " ").isprintable() else (_UNFIT,)
        return _places(texts, *unfit, _suspect(delimiter))
    if not any(character in joined for character in _FORMULA_CHARACTERS):
        return ()
    if not _MAY_HIDE.search("".join({text[:1] for text in texts})) and not _has_separator(joined, delimiter):
        return ()
    return _places(texts, _suspect(delimiter))


def _has_separator(joined: str, delimiter: str) -> bool:
    return any(separator in joined for separator in _separators(delimiter))


def _places(texts: Sequence[str], *patterns: re.Pattern[str]) -> Collection[int]:
    """The texts that a match touches, found in all of them at once: each stands after a line feed. Empty ones never."""
    joined = "\n" + "\n".join(texts)
    matches = [match.span() for pattern in patterns for match in pattern.finditer(joined)]
    if not matches:
        return ()
    ends = list(accumulate(len(text) + 1 for text in texts))
    places = {
        place for start, end in matches for place in range(bisect_right(ends, start), bisect_right(ends, end - 1) + 1)
    }
    return [place for place in sorted(places) if texts[place]]


@cache
def _suspect(delimiter: str) -> re.Pattern[str]:
    """Tells of all texts at once, joined by line feeds. A long run is suspect unread, so that it costs linear time."""
    return re.compile(
        f"[{_separators(delimiter)}](?:[{IGNORED_BEFORE_FORMULA}]{{41}}|[{IGNORED_BEFORE_FORMULA}]{{0,40}}[{FORMULA_STARTS}]|(?<=\n)[\t\r\n])"
    )


@cache
def _inner_formula(delimiter: str) -> re.Pattern[str]:
    """Takes the whole run after a separator, formula or not, so that hostile runs of separators cost linear time."""
    separators = _separators(delimiter)
    return re.compile(f"[{separators}][{separators}{IGNORED_BEFORE_FORMULA}]*([{FORMULA_STARTS}])?")


def _separators(delimiter: str) -> str:
    return "\r\n;\t" if delimiter == "," else "\r\n;\t,"


def _replaced(text: str, rules: ConversionContext) -> str:
    return _changed(text, _SURROGATE.sub("\ufffd", text), "surrogate_replaced", rules)


def _without_controls(text: str, rules: ConversionContext) -> str:
    return _changed(text, _CONTROL.sub("", text), "control_removed", rules)


def _harmless(text: str, rules: ConversionContext) -> str:
    escaped = _inner_formula(rules.delimiter).sub(_with_apostrophe, text)
    if _STARTS_FORMULA.match(text):
        escaped = "'" + escaped
    if escaped != text and rules.formulas == "reject":
        raise FormulaRejected(
            f"Column {rules.column.label!r} has text that a spreadsheet would run as a formula. "
            "Correct it at its source, or export with formulas escaped."
        )
    return _changed(text, escaped, "formula_escaped", rules)


def _with_apostrophe(run: re.Match[str]) -> str:
    return f"{run[0][:-1]}'{run[1]}" if run[1] else run[0]


def _changed(before: str, after: str, kind: str, rules: ConversionContext) -> str:
    if after != before:
        rules.count(kind)
    return after

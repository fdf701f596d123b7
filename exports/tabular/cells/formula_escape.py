"""Make text harmless for spreadsheets: none of it runs as a formula, whether the file is split at `,`, `;` or TAB."""

import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from functools import cache
from itertools import accumulate
from typing import Final

from exports.exceptions import FormulaRejected
from exports.tabular.cells.conversion import ConversionContext

# These four are the insides of character classes in regular expressions.
# Characters that a spreadsheet may take for the beginning of a formula, wide forms included.
FORMULA_STARTS: Final = "=+\\-@\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20"
# White space, quotes and characters without a width, which may precede a formula and hide it.
IGNORED_BEFORE_FORMULA: Final = (
    "\\s\"'`\u00ab\u00ad\u00bb\u061c\u180e\u200b-\u200f\u2018-\u201f\u202a-\u202e\u2060-\u206f\ufeff"
)
CONTROL_CHARACTERS: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff"
SURROGATES: Final = "\ud800-\udfff"

_CONTROL = re.compile(f"[{CONTROL_CHARACTERS}]")
SURROGATE_PATTERN = re.compile(f"[{SURROGATES}]")
_CONTROL_OR_SURROGATE = re.compile(f"[{CONTROL_CHARACTERS}{SURROGATES}]")
_MAY_PRECEDE_FORMULA = re.compile(f"[{IGNORED_BEFORE_FORMULA}{FORMULA_STARTS}]")
_STARTS_WITH_FORMULA = re.compile(f"[{IGNORED_BEFORE_FORMULA}]*[{FORMULA_STARTS}]|[\t\r\n]")
_FORMULA_CHARACTERS: Final = tuple(FORMULA_STARTS.replace("\\", ""))

# What starts like a formula and is none, because it names no cell and no function: signs alone, a number with its
# grouping, exponent, percent or currency sign, a phone number.
_HARMLESS: Final = r"(?:[+-]+|[+-][0-9., ]*[0-9](?:[eE][+-]?[0-9]+)?(?: ?[%$£€¥])?|\+[0-9](?:[ ()./-]*[0-9]){5,})"
_HARMLESS_TEXT = re.compile(f" *{_HARMLESS}")
# In a list or object of JSON, a bracket follows the last number. No formula has one that it did not open.
_HARMLESS_FIELD = re.compile(rf"{_HARMLESS}(?:[]}}].*)?", re.DOTALL)


def escape_formulas(texts: Sequence[str], context: ConversionContext) -> list[str]:
    """Return harmless texts, by the rules in docs/formats.md. Every change is counted.

    A formula may start a text, or follow a separator at which a reader may split it: CR, LF, semicolon, TAB, and comma
    if the delimiter is another. (Between commas such a text is in quotes, which a reader that splits at commas
    understands. Quotes do not help against readers that split elsewhere.) Signs alone, numbers and phone numbers
    are no formulas.

    `context.formulas` is the mode: "escape", "raw" (replace surrogates only) or "reject" (raise FormulaRejected where
    "escape" would insert an apostrophe). The rules were found by opening hostile texts in LibreOffice.
    """
    if context.formulas == "raw":
        if not SURROGATE_PATTERN.search("".join(texts)):
            return list(texts)
        context.count("surrogate_replaced", sum(SURROGATE_PATTERN.search(text) is not None for text in texts))
        return [SURROGATE_PATTERN.sub("\ufffd", text) for text in texts]
    harmless = list(texts)
    for index in _find_suspects(texts, context.delimiter):
        harmless[index] = _escape(texts[index], context)
    return harmless


def _find_suspects(texts: Sequence[str], delimiter: str) -> Collection[int]:
    """Return the indexes of texts that may have to change. The characters of most columns show that none has to."""
    joined = " ".join(texts)
    if not joined.isprintable():
        # Line feeds are the most common characters that are not printable, and they may stay.
        has_line_feeds_only = joined.replace("\n", " ").isprintable()
        patterns = () if has_line_feeds_only else (_CONTROL_OR_SURROGATE,)
        return _find_matches(texts, *patterns, _suspect_formula(delimiter))
    if not any(character in joined for character in _FORMULA_CHARACTERS):
        return ()
    first_characters = "".join({text[:1] for text in texts})
    if not _MAY_PRECEDE_FORMULA.search(first_characters) and not any(
        separator in joined for separator in _separators(delimiter)
    ):
        return ()
    return _find_matches(texts, _suspect_formula(delimiter))


def _find_matches(texts: Sequence[str], *patterns: re.Pattern[str]) -> Collection[int]:
    """Return the indexes of texts that a match touches. All texts are searched at once, each one after a line feed."""
    joined = "\n" + "\n".join(texts)
    matches = [match.span() for pattern in patterns for match in pattern.finditer(joined)]
    if not matches:
        return ()
    ends = list(accumulate(len(text) + 1 for text in texts))
    indexes = {
        index for start, end in matches for index in range(bisect_right(ends, start), bisect_right(ends, end - 1) + 1)
    }
    return [index for index in sorted(indexes) if texts[index]]


@cache
def _suspect_formula(delimiter: str) -> re.Pattern[str]:
    # Looking at 40 characters at most keeps the search linear; a longer run of ignored characters is suspect as such.
    ignored = IGNORED_BEFORE_FORMULA
    return re.compile(
        f"[{_separators(delimiter)}](?:[{ignored}]{{41}}|[{ignored}]{{0,40}}[{FORMULA_STARTS}]|(?<=\n)[\t\r\n])"
    )


@cache
def _inner_formula(delimiter: str) -> re.Pattern[str]:
    # Matching the whole run after a separator, with a formula or not, takes linear time for hostile runs of separators.
    separators = _separators(delimiter)
    return re.compile(f"[{separators}][{separators}{IGNORED_BEFORE_FORMULA}]*([{FORMULA_STARTS}])?")


def _separators(delimiter: str) -> str:
    return "\r\n;\t" if delimiter == "," else "\r\n;\t,"


def _escape(text: str, context: ConversionContext) -> str:
    """Return one text made harmless."""
    decodable = SURROGATE_PATTERN.sub("\ufffd", text)
    if decodable != text:
        context.count("surrogate_replaced")
    printable = _CONTROL.sub("", decodable)
    if printable != decodable:
        context.count("control_removed")
    if _HARMLESS_TEXT.fullmatch(printable):
        return printable
    escaped = _inner_formula(context.delimiter).sub(_insert_apostrophe, printable)
    if _STARTS_WITH_FORMULA.match(printable):
        escaped = "'" + escaped
    if escaped != printable:
        if context.formulas == "reject":
            raise FormulaRejected(
                f"Column {context.column.label!r} has text that a spreadsheet would run as a formula. "
                "Correct it at its source, or export with formulas escaped."
            )
        context.count("formula_escaped")
    return escaped


def _insert_apostrophe(match: re.Match[str]) -> str:
    if not match[1]:
        return match[0]
    run, text, start = match[0][:-1], match.string, match.start(1)
    separator = run.rstrip(" ")[-1]
    end = text.find(separator, start)
    is_harmless = separator in ",;\t\r\n" and _HARMLESS_FIELD.fullmatch(text, start, len(text) if end < 0 else end)
    return match[0] if is_harmless else f"{run}'{match[1]}"

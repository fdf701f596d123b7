"""How wide cells are displayed, in characters. A number that does not fit its column is shown as ####."""

import re
from functools import lru_cache
from typing import Final
from unicodedata import east_asian_width

from exports.tabular.writers.xlsx.styles import MAX_SHOWN_DIGITS

# Longer texts are cut where the next cell is not empty.
MAX_TEXT_WIDTH: Final = 60
# Excel shows booleans in the language of its user.
BOOLEAN_WIDTH: Final = len("VERDADEIRO")
# Hours of a duration have at most this number of digits, and dates as numbers fewer.
MAX_HOURS: Final = 8
# A sign, and as many characters as Excel shows of a number without a format.
GENERAL_WIDTH: Final = 1 + MAX_SHOWN_DIGITS
# Names of months and days, such as "Donnerstag".
LONGEST_NAME: Final = "x" * 12
# Stands for XlsxWriter's numbers of built-in formats, which are those of amounts and of dates.
BUILT_IN_FORMAT: Final = "_(* #,##0.00_);yyyy-mm-dd hh:mm:ss"

# In this order, what is shown as something else: texts, the currency in "[$€-407]", elapsed time such as "[h]", colours
# and conditions, the character that fills a cell, and the parts of dates.
_SHOWN_AS: Final = (
    (re.compile(r'"([^"]*)"|[\\_](.)', re.DOTALL), lambda match: "x" * len(match[1] or match[2] or "")),
    (re.compile(r"\[\$([^\]-]*)[^\]]*\]"), r"\1"),
    (re.compile(r"\[[hms]+\]", re.IGNORECASE), "#"),
    (re.compile(r"\[[^\]]*\]|\*."), ""),
    (re.compile("General", re.IGNORECASE), "x" * GENERAL_WIDTH),
    (re.compile(r"y+|e(?![+-])", re.IGNORECASE), "xxxx"),
    (re.compile(r"m{3,}|d{3,}", re.IGNORECASE), LONGEST_NAME),
    (re.compile(r"[mdhs]+", re.IGNORECASE), "xx"),
)
_INTEGER_PLACES: Final = re.compile("[0#?][0#?,]*")


@lru_cache(maxsize=1024)
def number_width(number_format: str, digits: int) -> int:
    """Return the greatest width of a number with that many characters before the point, its sign included."""
    return max(_section_width(section, digits) for section in number_format.split(";"))


def text_width(text: str) -> int:
    """Return the width of the longest line. Chinese, Japanese and Korean characters count twice."""
    return max(len(line) + sum(east_asian_width(each) in "WF" for each in line) for line in text.split("\n"))


def _section_width(section: str, digits: int) -> int:
    for pattern, shown in _SHOWN_AS:
        section = pattern.sub(shown, section)
    places = _INTEGER_PLACES.search(section.partition(".")[0])
    if not places:
        return len(section)
    if re.search("E[+-]", section, re.IGNORECASE):
        digits = 0
    if "%" in section:
        digits += 2
    separators = digits // 3 if "," in places[0] else 0
    return len(section) - len(places[0]) + max(len(places[0].strip("#,")), digits + separators)

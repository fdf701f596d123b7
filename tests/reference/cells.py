"""A simple, slow reference implementation of cells: one value at a time, by the rules of docs/formats.md.

It uses nothing of `exports`. Each function returns the cell and the kinds of alterations.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Any
from uuid import UUID

FORMULA_STARTS = "=+-@\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20"
DIGITS = "0123456789"
QUOTES = "\"'`\u00ab\u00bb" + "".join(map(chr, range(0x2018, 0x2020)))
WITHOUT_WIDTH = "\u00ad\u061c\u180e\ufeff" + "".join(
    chr(code) for start, end in ((0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F)) for code in range(start, end + 1)
)

Changes = set[str]


def csv_cell(
    value: object, kind: str, zone: tzinfo, *, formulas: str, delimiter: str, profile: str = "exchange"
) -> tuple[str, Changes]:
    """The profile "spreadsheet" has a decimal comma here."""
    if isinstance(value, Enum):
        return csv_cell(value.value, kind, zone, formulas=formulas, delimiter=delimiter, profile=profile)
    if value is None:
        return "", set()
    if profile == "spreadsheet" and isinstance(value, datetime | time):
        local = in_zone(value, zone) if isinstance(value, datetime) else value
        shown = local.replace(tzinfo=None) if isinstance(local, datetime) else local
        changes = {"fraction_cut"} if local.microsecond else set()
        return shown.replace(microsecond=0).isoformat().replace("T", " "), changes | repeated_hour(local, zone)
    if isinstance(value, Mapping | list | tuple):
        text, named = json_text(value, zone)
        escaped, changes = escape_formulas(text, formulas, delimiter)
        return escaped, changes | named
    text = plain_text(value, kind, zone)
    if profile == "spreadsheet" and isinstance(value, Decimal | Real | timedelta):
        return text.replace(".", ","), set()
    return escape_formulas(text, formulas, delimiter) if may_be_formula(value) else (text, set())


def may_be_formula(value: object) -> bool:
    return not isinstance(value, bool | Integral | Decimal | Real | date | time | timedelta | UUID | bytes)


def plain_text(value: object, kind: str, zone: tzinfo) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Integral():
            return str(int(value))
        case Decimal():
            return format(value, "f")
        case Real():
            return repr(float(value))
        case datetime():
            return in_zone(value, zone).isoformat()
        case date() | time():
            return value.isoformat()
        case timedelta():
            return clock(value)
        case bytes():
            return value.hex()
        case str():
            return json.dumps(value, ensure_ascii=False) if kind == "json" else value
        case _ if hasattr(value, "upper_inc"):
            return range_text(value, zone)
        case _:
            return str(value)


def range_text(value: Any, zone: tzinfo) -> str:
    if value.isempty:
        return "empty"
    lower, upper = ("" if bound is None else plain_text(bound, "", zone) for bound in (value.lower, value.upper))
    return f"{'[' if value.lower_inc else '('}{lower},{upper}{']' if value.upper_inc else ')'}"


def json_text(value: object, zone: tzinfo) -> tuple[str, Changes]:
    if isinstance(value, Enum):
        return json_text(value.value, zone)
    if isinstance(value, float | Decimal) and not Decimal(value).is_finite():
        return f'"{non_finite_name(Decimal(value))}"', {"not_a_number"}
    if value is None:
        return "null", set()
    if isinstance(value, bool | Decimal | Real):
        return plain_text(value, "", zone), set()
    if not isinstance(value, Mapping | list | tuple):
        return json.dumps(plain_text(value, "", zone), ensure_ascii=False), set()
    items = value.items() if isinstance(value, Mapping) else ((None, item) for item in value)
    texts, changes = [], set()
    for key, item in items:
        key_text, key_changes = json_text(key, zone)
        text, item_changes = json_text(item, zone)
        name = key_text if key_text.startswith('"') else json.dumps(key_text, ensure_ascii=False)
        texts.append(f"{name}: {text}" if isinstance(value, Mapping) else text)
        changes |= key_changes | item_changes
    inner = ", ".join(texts)
    return f"{{{inner}}}" if isinstance(value, Mapping) else f"[{inner}]", changes


def in_zone(value: datetime, zone: tzinfo) -> datetime:
    if value.tzinfo is None:
        return value
    try:
        return value.astimezone(zone)
    except OverflowError:
        return value


def clock(duration: timedelta) -> str:
    micros = abs(duration) // timedelta(microseconds=1)
    seconds, micros = divmod(micros, 10**6)
    sign, fraction = "-" if duration < timedelta() else "", f".{micros:06}" if micros else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{fraction}"


def escape_formulas(text: str, formulas: str, delimiter: str) -> tuple[str, Changes]:
    whole, changes = without_surrogates(text)
    if formulas == "raw":
        return whole, changes
    fit = "".join(character for character in whole if not is_control(character))
    escaped = with_apostrophes(fit, "\r\n;\t" if delimiter == "," else "\r\n;\t,")
    changes |= {"control_removed"} if fit != whole else set()
    return escaped, changes | ({"formula_escaped"} if escaped != fit else set())


def without_surrogates(text: str) -> tuple[str, Changes]:
    whole = "".join("\ufffd" if 0xD800 <= ord(character) <= 0xDFFF else character for character in text)
    return whole, {"surrogate_replaced"} if whole != text else set()


def is_control(character: str) -> bool:
    return (ord(character) < 32 and character not in "\t\n\r") or character in "\x7f\ufffe\uffff"


def with_apostrophes(text: str, separators: str) -> str:
    made, is_first, after_separator = "", True, False
    in_front = text[:1] in ("\t", "\r", "\n")
    for position, character in enumerate(text):
        if character in FORMULA_STARTS:
            in_front = in_front or (is_first and not is_number(text.lstrip(" ")))
            made += "'" if after_separator and not is_number_field(text, position, separators) else ""
        made += character
        is_skipped = character.isspace() or character in QUOTES or character in WITHOUT_WIDTH
        is_first = is_first and is_skipped
        after_separator = character in separators or (after_separator and is_skipped)
    return "'" + made if in_front else made


def is_number_field(text: str, start: int, separators: str) -> bool:
    """Return True if the rest of the text, or what is before the next such separator or bracket, is a number."""
    before = text[:start].rstrip(" ")[-1]
    field = re.split(rf"[{re.escape(before)}\]}}]", text[start:])[0]
    return before in separators and is_number(field)


def is_number(text: str) -> bool:
    """Return True for signs alone, a number with a sign, and a phone number."""
    sign, rest = text[:1], text[1:]
    if sign not in ("+", "-") or not text.strip("+-"):
        return sign in ("+", "-")
    phone_digits = re.sub(r"[ ()./-]", "", rest)
    if sign == "+" and len(phone_digits) >= 6 and not (phone_digits + rest[0] + rest[-1]).strip(DIGITS):
        return True
    number = rest[:-1].removesuffix(" ") if rest[-1:] in ("%", "$", "£", "€", "¥") else rest
    digits, mark, exponent = number.lower().partition("e")
    is_exponent = exponent.lstrip("+-") != "" and not exponent[1:].strip(DIGITS) and exponent[0] in f"+-{DIGITS}"
    if mark and not is_exponent:
        return False
    return digits[-1:] in tuple(DIGITS) and not digits.strip(f"{DIGITS}., ")


def json_cell(value: object, kind: str, zone: tzinfo) -> tuple[object, Changes]:
    """Return what a JSON parser that reads floats as Decimal finds."""
    if isinstance(value, Enum):
        return json_cell(value.value, kind, zone)
    if value is None or isinstance(value, bool):
        return value, set()
    if isinstance(value, Integral):
        return int(value), set()
    if isinstance(value, Decimal | Real):
        number = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
        return (number, set()) if number.is_finite() else (non_finite_name(number), {"not_a_number"})
    if isinstance(value, Mapping | list | tuple):
        text, changes = json_text(value, zone)
        whole, replaced = without_surrogates(text)
        return json.loads(whole, parse_float=Decimal), changes | replaced
    if isinstance(value, str) and kind == "json":
        return without_surrogates(value)
    return without_surrogates(plain_text(value, "", zone))


def non_finite_name(number: Decimal) -> str:
    if number.is_nan():
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def sheet_cell(value: object, kind: str, zone: tzinfo) -> tuple[object, Changes]:
    """Return a typed cell of Excel; None is empty."""
    match value:
        case None:
            return None, set()
        case Enum():
            return sheet_cell(value.value, kind, zone)
        case bool():
            return value, set()
        case Integral():
            return (int(value), set()) if abs(value) < 10**15 else (str(int(value)), {"number_as_text"})
        case Decimal():
            return sheet_decimal(value)
        case Real():
            return sheet_float(float(value))
        case datetime():
            return sheet_datetime(in_zone(value, zone), zone)
        case date():
            return (value, set()) if value >= date(1900, 3, 1) else (value.isoformat(), {"date_as_text"})
        case time():
            is_shown = value.tzinfo is None
            return (value, cut(value.microsecond)) if is_shown else (value.isoformat(), {"time_as_text"})
        case timedelta():
            is_shown = timedelta() <= value < timedelta(days=2_958_466)
            return (value, cut(value.microseconds)) if is_shown else (clock(value), {"duration_as_text"})
        case Mapping() | list() | tuple():
            text, named = json_text(value, zone)
            cell, changes = sheet_text(text)
            return cell, changes | named
        case _:
            return sheet_text(plain_text(value, kind, zone))


def sheet_datetime(local: datetime, zone: tzinfo) -> tuple[object, Changes]:
    naive = local.replace(tzinfo=None)
    if naive < datetime(1900, 3, 1) or (local.tzinfo and local.tzinfo != zone):
        return local.isoformat(), {"date_as_text"}
    return naive, cut(local.microsecond) | repeated_hour(local, zone)


def repeated_hour(local: datetime | time, zone: tzinfo) -> Changes:
    occurs_twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return {f"hour_repeated {local.isoformat()[-6:]}"} if local.tzinfo is zone and occurs_twice else set()


def cut(microseconds: int) -> Changes:
    return {"fraction_cut"} if microseconds % 1000 else set()


def sheet_decimal(value: Decimal) -> tuple[object, Changes]:
    if not value.is_finite():
        return str(value), {"not_a_number"}
    digits = "".join(map(str, value.as_tuple().digits)).rstrip("0")
    if not digits or (len(digits) <= 15 and in_range(abs(value))):
        return value, set()
    return format(value, "f") if abs(value.adjusted()) < 1000 else str(value), {"number_as_text"}


def sheet_float(value: float) -> tuple[object, Changes]:
    if not math.isfinite(value):
        return repr(value), {"not_a_number"}
    return (value, set()) if value == 0 or in_range(abs(value)) else (repr(value), {"number_as_text"})


def in_range(size: Decimal | float) -> bool:
    return 2.2250738585072014e-308 <= size <= 9.99999999999999e307


def sheet_text(text: str) -> tuple[str | None, Changes]:
    fit = "".join(character for character in text if not is_control(character))
    whole, changes = without_surrogates(fit)
    changes |= {"control_removed"} if fit != text else set()
    lines = whole.replace("\r\n", "\n").replace("\r", "\n")
    changes |= {"line_break_changed"} if lines != whole else set()
    cut = lines
    while len(cut.encode("utf-16-le")) > 2 * 32_767:
        cut = cut[:-1]
    return cut or None, changes | ({"text_cut"} if cut != lines else set())


def plain_value(value: Any, zone: tzinfo) -> Any:
    """Return what a writer of a project's own format gets."""
    match value:
        case Enum():
            return plain_value(value.value, zone)
        case bool() | None:
            return value
        case Integral():
            return int(value)
        case Decimal():
            return Decimal(value)
        case Real():
            return float(value)
        case datetime():
            return in_zone(value, zone)
        case date() if type(value) is not date:
            return date.fromordinal(value.toordinal())
        case time() if type(value) is not time:
            return time.fromisoformat(value.isoformat())
        case timedelta():
            return timedelta(value.days, value.seconds, value.microseconds)
        case str():
            return str.__str__(value)
        case Mapping():
            return {plain_value(key, zone): plain_value(each, zone) for key, each in value.items()}
        case list() | tuple():
            return [plain_value(each, zone) for each in value]
        case _ if hasattr(value, "upper_inc") and not value.isempty:
            bounds = f"{'[' if value.lower_inc else '('}{']' if value.upper_inc else ')'}"
            return type(value)(plain_value(value.lower, zone), plain_value(value.upper, zone), bounds)
        case date() | time() | UUID() | bytes():
            return value
        case _:
            return value if hasattr(value, "isempty") else str(value)

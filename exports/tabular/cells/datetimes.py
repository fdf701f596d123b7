"""Times that are text: to another zone, to ISO 8601, and to the serial numbers of a spreadsheet.

A zone is asked once for each hour that occurs; the rest is joining of texts. What has not the form of `RawColumn` (a year
of five digits, "infinity") stays as it is, or is told by None.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

from exports.tabular.cells.numbers import format_numbers

# Excel's serial numbers count days from here; true of every day from 1 March 1900 on, since Excel counts a 29 February
# 1900 that never was.
EXCEL_EPOCH: Final = datetime(1899, 12, 30)
FIRST_EXCEL_DATETIME: Final = datetime(1900, 3, 1)
FIRST_EXCEL_DATE: Final = FIRST_EXCEL_DATETIME.date()
ONE_DAY: Final = timedelta(days=1)
ONE_HOUR: Final = timedelta(hours=1)

# Where the seconds and their fraction end in "YYYY-MM-DD HH:MM:SS.ffffff", and the seconds in "HH:MM:SS".
SECONDS_END: Final = 19
FRACTION_END: Final = 26
CLOCK_END: Final = 8

# So many spans or days are remembered, of so many zones: a year has 8,760 hours.
MAX_CACHED_SPANS: Final = 10_000
MAX_CACHED_ZONES: Final = 4


class _Span(NamedTuple):
    """An hour or minute of UTC in a zone: what stands before the rest and after it, and where its serials begin."""

    before: str
    after: str
    epoch: datetime | None


class _Spans(dict[str, _Span | None]):
    """By what a text begins with: "YYYY-MM-DD HH", and the minute where the zone's offset is not of whole hours.

    None where the offset changes within the span, or the text is no time.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        has_minutes = bool(datetime.now(zone).utcoffset() % ONE_HOUR)
        # Where the beginning ends, and how it is made whole.
        self.end, self._rest, self._length = (16, ":00", ONE_HOUR / 60) if has_minutes else (13, ":00:00", ONE_HOUR)

    def __missing__(self, text: str) -> _Span | None:
        if len(self) >= MAX_CACHED_SPANS:
            self.clear()
        self[text] = found = self._span(text)
        return found

    def _span(self, text: str) -> _Span | None:
        try:
            start = datetime.fromisoformat(text + self._rest).replace(tzinfo=UTC)
        except ValueError:
            return None
        first, last = to_local([start, start + (self._length - datetime.resolution)], self._zone)
        offset, iso = first.utcoffset(), first.isoformat()
        if offset != last.utcoffset() or iso[self.end : 19] != self._rest:
            return None
        # Subtracted from a moment in UTC, this gives the days of the local time.
        epoch = EXCEL_EPOCH - offset if first.replace(tzinfo=None) >= FIRST_EXCEL_DATETIME else None
        return _Span(iso[: self.end], iso[19:], epoch)


class _Days(dict[str, str | None]):
    """Serial numbers of days, by "YYYY-MM-DD". None for what is no day of Excel's calendar."""

    def __missing__(self, text: str) -> str | None:
        if len(self) >= MAX_CACHED_SPANS:
            self.clear()
        self[text] = found = _day_serial(text)
        return found


def format_utc_datetimes(texts: Sequence[str], zone: tzinfo) -> list[str]:
    """RawColumn of moments in UTC as ISO 8601 in `zone`, with its offset."""
    spans = _spans(zone)
    end = spans.end
    if _are_strange(texts):
        return [_moved(text, zone) for text in texts]
    if not set(map(len, texts)) <= {SECONDS_END, FRACTION_END}:
        texts = [_with_whole_fraction(text) for text in texts]
    starts = {text[:end] for text in texts}
    if all(_is_same(start, spans[start]) for start in starts):
        lines = "\n".join(texts).replace(" ", "T").replace("\n", "+00:00\n")
        return f"{lines}+00:00".split("\n")
    return [f"{span[0]}{text[end:]}{span[1]}" if (span := spans[text[:end]]) else _moved(text, zone) for text in texts]


def _is_same(start: str, span: _Span | None) -> bool:
    """Whether the clock of the zone shows what UTC has."""
    return span is not None and span.after == "+00:00" and span.before == start.replace(" ", "T")


def format_naive_datetimes(texts: Sequence[str]) -> list[str]:
    """RawColumn of datetimes without a zone as ISO 8601."""
    return [
        _with_whole_fraction(f"{text[:10]}T{text[11:]}") if text[10:11] == " " and text[-1].isdigit() else text
        for text in texts
    ]


def format_times(texts: Sequence[str]) -> list[str]:
    return [_with_whole_fraction(text, CLOCK_END) for text in texts]


def utc_datetime_serials(texts: Sequence[str], zone: tzinfo) -> list[str] | None:
    """Serial numbers in the local time of `zone`, or None where a text is not in Excel's calendar."""
    spans, parse = _spans(zone), datetime.fromisoformat
    end = spans.end
    if _are_strange(texts) or not all(span and span.epoch for span in map(spans.__getitem__, {t[:end] for t in texts})):
        return None
    try:
        return duration_serials([parse(text) - spans[text[:end]][2] for text in texts])
    except ValueError:
        return None


def datetime_serials(texts: Sequence[str]) -> list[str] | None:
    """Serial numbers, or None where a text is not in Excel's calendar."""
    try:
        moments = list(map(datetime.fromisoformat, texts))
    except ValueError:
        return None
    return (
        None if min(moments) < FIRST_EXCEL_DATETIME else duration_serials([moment - EXCEL_EPOCH for moment in moments])
    )


def date_serials(texts: Sequence[str]) -> list[str] | None:
    """Serial numbers, or None where a text is not in Excel's calendar."""
    found = list(map(_days.__getitem__, texts))
    return None if None in found else found


def time_serials(texts: Sequence[str]) -> list[str] | None:
    """Fractions of a day, or None where a text is no time of day."""
    try:
        return duration_serials(list(map(since_midnight, map(time.fromisoformat, texts))))
    except ValueError:
        return None


def duration_serials(durations: Sequence[timedelta]) -> list[str]:
    """Durations as days, with all the digits that a float has."""
    return format_numbers([duration / ONE_DAY for duration in durations])


def since_midnight(clock: time) -> timedelta:
    return timedelta(0, clock.hour * 3600 + clock.minute * 60 + clock.second, clock.microsecond)


def to_local(values: Sequence[datetime], zone: tzinfo) -> list[datetime]:
    """The same moments in `zone`. A naive one stays, as does one that `zone` would move out of the years 1 to 9999."""
    try:
        return [value if value.tzinfo is None else value.astimezone(zone) for value in values]
    except OverflowError:
        return list(values) if len(values) == 1 else [moved for value in values for moved in to_local([value], zone)]


@lru_cache(maxsize=MAX_CACHED_ZONES)
def _spans(zone: tzinfo) -> _Spans:
    return _Spans(zone)


_days = _Days()


def _day_serial(text: str) -> str | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return str(day.toordinal() - EXCEL_EPOCH.toordinal()) if day >= FIRST_EXCEL_DATE else None


def _are_strange(texts: Sequence[str]) -> bool:
    """Whether a year is before Christ."""
    return "B" in "".join(texts)


def _with_whole_fraction(text: str, seconds_end: int = SECONDS_END) -> str:
    """The fraction of a second, which a text ends in, with six digits; none where there is none."""
    return text.ljust(seconds_end + 7, "0") if text[seconds_end : seconds_end + 1] == "." else text


def _moved(text: str, zone: tzinfo) -> str:
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return text
    return to_local([moment], zone)[0].isoformat()

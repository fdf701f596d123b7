"""Datetimes as text: move them to another zone, format them as ISO 8601 or as the serial numbers of a spreadsheet.

The texts are those of a RawColumn. The zone is asked once for each hour that occurs; everything else is joining of
strings. A text of another shape (a year of five digits, "infinity") is returned unchanged, or makes the result None.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from operator import itemgetter, sub
from typing import Final, NamedTuple

from exports.tabular.cells.numbers import format_numbers

# Excel's serial numbers count days from here. That holds from 1 March 1900 on, because Excel counts a 29 February 1900
# that did not exist.
EXCEL_EPOCH: Final = datetime(1899, 12, 30)
FIRST_EXCEL_DATETIME: Final = datetime(1900, 3, 1)
FIRST_EXCEL_DATE: Final = FIRST_EXCEL_DATETIME.date()
LAST_DAY: Final = datetime(9999, 12, 31)
ONE_DAY: Final = timedelta(days=1)
MILLISECONDS_OF_DAY: Final = 86_400_000
ONE_HOUR: Final = timedelta(hours=1)

# Length of "YYYY-MM-DD", of "YYYY-MM-DD HH:MM:SS", of the same with six digits of fraction, and of "HH:MM:SS".
DATE_END: Final = 10
SECONDS_END: Final = 19
FRACTION_END: Final = 26
TIME_SECONDS_END: Final = 8

# Bounds of the caches: spans or days of one cache (a year has 8,760 hours), and zones with a cache.
MAX_CACHED_SPANS: Final = 10_000
MAX_CACHED_ZONES: Final = 4


class _LocalSpan(NamedTuple):
    """An hour (or minute) of UTC as a zone shows it.

    prefix: what a local ISO 8601 text starts with, such as "2013-01-02T04".
    suffix: the offset it ends with.
    excel_epoch: subtracted from a datetime in UTC, it gives Excel's days in local time; None outside of Excel's
        calendar, and where the local time occurs twice.
    """

    prefix: str
    suffix: str
    excel_epoch: datetime | None


class _LocalSpans(dict[str, _LocalSpan | None]):
    """Cache of one zone's spans by the text that a datetime in UTC starts with: "YYYY-MM-DD HH".

    The text includes the minute if the offset of the zone is not a whole number of hours. The value is None if the
    offset changes within the span, or if the text is not a datetime.
    """

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        has_minutes = bool((datetime.now(zone).utcoffset() or timedelta()) % ONE_HOUR)
        # `end` is the length of a key; the rest completes it to a datetime.
        self.end, self._rest, self._length = (16, ":00", ONE_HOUR / 60) if has_minutes else (13, ":00:00", ONE_HOUR)

    def __missing__(self, text: str) -> _LocalSpan | None:
        if len(self) >= MAX_CACHED_SPANS:
            self.clear()
        self[text] = span = self._find(text)
        return span

    def _find(self, text: str) -> _LocalSpan | None:
        try:
            start = datetime.fromisoformat(text + self._rest).replace(tzinfo=UTC)
        except ValueError:
            return None
        first, last = to_local([start, start + (self._length - datetime.resolution)], self._zone)
        offset, iso = first.utcoffset(), first.isoformat()
        if offset is None or offset != last.utcoffset() or iso[self.end : SECONDS_END] != self._rest:
            return None
        # Where the year is 10000 in the zone, the time is still in UTC.
        is_in_calendar = first.replace(tzinfo=None) >= FIRST_EXCEL_DATETIME and last.tzinfo is self._zone
        may_occur_twice = is_in_calendar and _sets_clocks_back(self._zone, first.toordinal())
        is_shown = is_in_calendar and not (may_occur_twice and (occurs_twice(first) or occurs_twice(last)))
        return _LocalSpan(iso[: self.end], iso[SECONDS_END:], EXCEL_EPOCH - offset if is_shown else None)


class _DateSerials(dict[str, str]):
    """Cache of Excel's serial numbers by "YYYY-MM-DD". Raises ValueError for a date outside of Excel's calendar."""

    def __missing__(self, text: str) -> str:
        day = date.fromisoformat(text)
        if day < FIRST_EXCEL_DATE:
            raise ValueError("Excel's calendar begins on 1 March 1900.")
        if len(self) >= MAX_CACHED_SPANS:
            self.clear()
        self[text] = serial = str(day.toordinal() - EXCEL_EPOCH.toordinal())
        return serial


_date_serials = _DateSerials()
_local_spans = lru_cache(maxsize=MAX_CACHED_ZONES)(_LocalSpans)


def format_utc_datetimes(texts: Sequence[str], zone: tzinfo) -> list[str]:
    """Return datetimes in UTC as ISO 8601 in `zone`, with its offset."""
    spans = _local_spans(zone)
    end = spans.end
    if _have_years_before_christ(texts):
        return [_move(text, zone) for text in texts]
    if not set(map(len, texts)) <= {SECONDS_END, FRACTION_END}:
        texts = [_pad_fraction(text) for text in texts]
    starts = set(map(itemgetter(slice(end)), texts))
    if all(
        (span := spans[start]) and span.suffix == "+00:00" and span.prefix == start.replace(" ", "T")
        for start in starts
    ):  # the zone shows UTC, so all texts change in the same way
        lines = "\n".join(texts).replace(" ", "T").replace("\n", "+00:00\n")
        return f"{lines}+00:00".split("\n")
    return [f"{span[0]}{text[end:]}{span[1]}" if (span := spans[text[:end]]) else _move(text, zone) for text in texts]


def format_naive_datetimes(texts: Sequence[str]) -> list[str]:
    """Return datetimes without a zone as ISO 8601."""
    return [
        _pad_fraction(f"{text[:10]}T{text[11:]}") if text[10:11] == " " and text[-1].isdigit() else text
        for text in texts
    ]


def format_times(texts: Sequence[str]) -> list[str]:
    """Return times of day as ISO 8601."""
    return [_pad_fraction(text, TIME_SECONDS_END) for text in texts]


def utc_datetimes_since_epoch(texts: Sequence[str], zone: tzinfo) -> list[timedelta] | None:
    """Return how long after EXCEL_EPOCH the local times in `zone` are.

    Returns None if a text is outside of Excel's calendar, or if its local time occurs twice.
    """
    spans = _local_spans(zone)
    starts = list(map(itemgetter(slice(spans.end)), texts))
    epochs = {start: (span := spans[start]) and span.excel_epoch for start in set(starts)}
    if None in epochs.values() or _have_years_before_christ(texts):
        return None
    try:
        return list(map(sub, map(datetime.fromisoformat, texts), map(epochs.__getitem__, starts)))
    except ValueError:
        return None


def datetimes_since_epoch(texts: Sequence[str]) -> list[timedelta] | None:
    """Return how long after EXCEL_EPOCH naive datetimes are, or None if a text is outside of Excel's calendar."""
    try:
        datetimes = list(map(datetime.fromisoformat, texts))
    except ValueError:
        return None
    if min(datetimes) < FIRST_EXCEL_DATETIME:
        return None
    return [value - EXCEL_EPOCH for value in datetimes]


def date_serials(texts: Sequence[str]) -> list[str] | None:
    """Return Excel's serial numbers of dates, or None if a text is outside of Excel's calendar."""
    try:
        return list(map(_date_serials.__getitem__, texts))
    except ValueError:
        return None


def parse_time(text: str) -> time:
    """Return a time of day. Raise ValueError also for PostgreSQL's 24:00:00, which Python 3.14 reads as midnight."""
    if text.startswith("24"):
        raise ValueError(f"Python has no such time: {text}")
    return time.fromisoformat(text)


def times_since_midnight(texts: Sequence[str]) -> list[timedelta] | None:
    """Return how long after midnight times of day are, or None if a text is not a time of day."""
    try:
        return list(map(since_midnight, map(parse_time, texts)))
    except ValueError:
        return None


def duration_serials(durations: Sequence[timedelta]) -> list[str]:
    """Return durations in days, with all the digits of a float.

    They are rounded down to milliseconds, the smallest that Excel shows: a rounded display never shows the next day.
    """
    # Faster than an operator of timedelta.
    return format_numbers(
        [
            (each.days * MILLISECONDS_OF_DAY + each.seconds * 1000 + each.microseconds // 1000) / MILLISECONDS_OF_DAY
            for each in durations
        ]
    )


def since_midnight(value: time) -> timedelta:
    """Return the time that has passed since midnight."""
    return timedelta(0, value.hour * 3600 + value.minute * 60 + value.second, value.microsecond)


def to_local(values: Sequence[datetime], zone: tzinfo) -> list[datetime]:
    """Return the datetimes in `zone`. Naive ones, and those whose local year is not in 1 to 9999, are unchanged."""
    try:
        return [value if value.tzinfo is None else value.astimezone(zone) for value in values]
    except OverflowError:
        return list(values) if len(values) == 1 else [moved for value in values for moved in to_local([value], zone)]


def times_that_occur_twice(
    local: Sequence[datetime], zone: tzinfo, first: datetime, last: datetime
) -> Sequence[datetime]:
    """Return those of the local times of `zone` that are in the hour that is repeated when clocks are set back.

    `first` and `last` are the earliest and the latest of them, without the zone.
    """
    days: Collection[int] = range(first.toordinal(), last.toordinal() + 1)
    if len(days) > len(local):
        days = set(map(datetime.toordinal, local))
    if not any(_sets_clocks_back(zone, day) for day in days):
        return []
    return [value for value in local if value.tzinfo is zone and occurs_twice(value)]


def offsets_of_repeated_hours(texts: Sequence[str], zone: tzinfo) -> list[str]:
    """Return the offsets of those ISO 8601 texts of `zone` that are in an hour that is repeated."""
    days = {text[:DATE_END] for text in texts if text[DATE_END : DATE_END + 1] == "T"}
    days = {day for day in days if _sets_clocks_back(zone, date.fromisoformat(day).toordinal())}
    if not days:
        return []
    parsed = to_local([datetime.fromisoformat(text) for text in texts if text[:DATE_END] in days], zone)
    found = [value for value in parsed if value.tzinfo is zone and occurs_twice(value)]
    return [value.isoformat(timespec="seconds")[SECONDS_END:] for value in found]


def occurs_twice(local: datetime) -> bool:
    """Return True if another moment has the same local time, with another offset."""
    return local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()


@lru_cache(maxsize=MAX_CACHED_SPANS)
def _sets_clocks_back(zone: tzinfo, day: int) -> bool:
    """Return True if clocks are set back on the day with this ordinal, which takes a tenth of asking for each time."""
    start = datetime.fromordinal(day).replace(tzinfo=zone)
    end = (start + (ONE_DAY - datetime.resolution)).replace(fold=1)
    return (start.utcoffset() or timedelta()) > (end.utcoffset() or timedelta())


def _have_years_before_christ(texts: Sequence[str]) -> bool:
    # PostgreSQL writes them as "0044-03-15 12:00:00 BC".
    return "B" in "".join(texts)


def _pad_fraction(text: str, seconds_end: int = SECONDS_END) -> str:
    """Return the text with six digits of fraction if it has a fraction."""
    return text.ljust(seconds_end + 7, "0") if text[seconds_end : seconds_end + 1] == "." else text


def _move(text: str, zone: tzinfo) -> str:
    """Return one datetime in UTC as ISO 8601 in `zone`; the text itself if Python cannot represent it."""
    try:
        value = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        return text
    return to_local([value], zone)[0].isoformat()

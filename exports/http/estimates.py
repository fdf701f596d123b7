"""Before the click: how many rows an export has, and about how large its file and how long its run will be."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from math import ceil
from typing import Any, Final, TypedDict

from django.db.models import QuerySet
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from exports.conf import config
from exports.exceptions import LimitReached
from exports.exporters.sheets import Sheet
from exports.http.words import duration_text, grouped, rows_text, word
from exports.models import FileRequest, Status
from exports.models.quotas import Quota
from exports.models.request import AnyUser
from exports.services import Asked
from exports.state import took_seconds
from exports.tabular.readers import querysets
from exports.tabular.writers import XlsxWriter
from exports.tabular.writers.xlsx.writer import MAX_ROWS
from exports.worker.limits import RunLimits

WINDOW_SECONDS: Final = 60.0
SAMPLES: Final = 20
MIN_SECONDS: Final = 0.5
MIN_COUNT_SECONDS: Final = 0.05
ROWS_OF_SHEET: Final = MAX_ROWS - 1

# When each user has asked, in this process.
_asked: defaultdict[Any, deque[float]] = defaultdict(deque)
_lock = threading.Lock()


class Estimate(TypedDict):
    """Rows of the file, None if they cannot be counted in time; about its bytes and seconds; all of it in words."""

    rows: int | None
    bytes: int | None
    seconds: float | None
    text: str


def check_rate(user: AnyUser) -> None:
    """Raise LimitReached for more than EXPORTS["MAX_ESTIMATES_PER_MINUTE"] of a user within a minute."""
    limit, now = config.MAX_ESTIMATES_PER_MINUTE, time.monotonic()
    with _lock:
        for key in [key for key, times in _asked.items() if times[-1] < now - WINDOW_SECONDS]:
            del _asked[key]
        times = _asked[user.pk]
        while times and times[0] < now - WINDOW_SECONDS:
            times.popleft()
        if len(times) >= limit:
            raise LimitReached("too_many_estimates", limit, seconds=times[0] + WINDOW_SECONDS - now)
        times.append(now)


def quota_of(user: AnyUser) -> Quota:
    """Return how many more estimates the user may ask this process for."""
    limit, now = config.MAX_ESTIMATES_PER_MINUTE, time.monotonic()
    with _lock:
        times = [moment for moment in _asked.get(user.pk, ()) if moment >= now - WINDOW_SECONDS]
    reset_seconds = times[0] + WINDOW_SECONDS - now if times else 0.0
    return Quota("too_many_estimates", limit, max(limit - len(times), 0), int(WINDOW_SECONDS), reset_seconds)


def estimate(user: AnyUser, asked: Asked) -> Estimate:
    """Count the rows within EXPORTS["ESTIMATE_SECONDS"], and take size and time from exports that were made before.

    Rows that only the worker reads are not counted.
    """
    exporter = asked.exporter
    if exporter.is_read_by_worker():
        return _estimate(None, _("The rows are counted while the file is made."))
    counts = _counts(exporter.get_sheets(user, asked.form.cleaned_data))
    if counts is None:
        return _estimate(None, _("The rows are counted while the file is made."))
    rows, limit = sum(counts), RunLimits.of(exporter).rows
    if rows == 0:
        return _estimate(0, _("Nothing matches."))
    if limit is not None and rows > limit:
        return _estimate(rows, _("{rows}, {limit} allowed").format(rows=rows_text(rows), limit=grouped(int(limit))))
    said, size, seconds = [rows_text(rows)], None, None
    if (pace := _pace(asked)) is not None:
        size, seconds = round(rows * pace[0]), round(max(rows * pace[1], MIN_SECONDS), 1)
        said.append(word("about", number=filesizeformat(size)))
        said.append(word("about", number=duration_text(seconds)))
    sheets = sum(max(ceil(count / ROWS_OF_SHEET), 1) for count in counts)
    if issubclass(asked.writer, XlsxWriter) and sheets > len(counts):
        parts = ngettext("{count} sheet", "{count} sheets", sheets).format(count=grouped(sheets))
        said.append(_("{sheets}, since one holds {rows}").format(sheets=parts, rows=rows_text(ROWS_OF_SHEET)))
    return {"rows": rows, "bytes": size, "seconds": seconds, "text": ", ".join(said)}


def _estimate(rows: int | None, text: str) -> Estimate:
    return {"rows": rows, "bytes": None, "seconds": None, "text": text}


def _counts(sheets: Sequence[Sheet]) -> list[int] | None:
    """Return the number of rows of each sheet, or None if one cannot be counted in time."""
    counts = []
    ends = time.monotonic() + config.ESTIMATE_SECONDS
    for sheet in sheets:
        if isinstance(sheet.rows, QuerySet):
            count = querysets.count_within(sheet.rows, max(ends - time.monotonic(), MIN_COUNT_SECONDS))
        else:
            count = sheet.length
        if count is None:
            return None
        counts.append(count)
    return counts


def _pace(asked: Asked) -> tuple[float, float] | None:
    """Return the bytes and the seconds that a row took in the newest files of this type and format in this tenant."""
    made = (
        FileRequest.objects.of_tenant()
        .filter(
            file_type=asked.exporter.file_type,
            format=asked.writer.format,
            status__in=(Status.READY, Status.EXPIRED),
            rows_done__gt=0,
            size__isnull=False,
            started_at__isnull=False,
        )
        .order_by("-requested_at")[:SAMPLES]
    )
    rows, size, seconds = 0, 0, 0.0
    for each in made.only("rows_done", "size", "started_at", "finished_at"):
        rows, size, seconds = rows + each.rows_done, size + (each.size or 0), seconds + (took_seconds(each) or 0.0)
    return (size / rows, max(seconds, 0.0) / rows) if rows else None

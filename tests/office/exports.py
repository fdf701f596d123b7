"""The exports of the office: a quick one with a filter and a permission, and one that lasts until it is let go."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.db.models import QuerySet

from exports.exporters import Column, QuerySetExport, registry
from exports.models.request import AnyUser
from exports.models.result import ExportResult
from exports.worker.runner import Run

REFUSED = "refused"
PACE_SECONDS = 0.02


class MonthForm(forms.Form):
    month = forms.IntegerField(min_value=1, max_value=12)
    note = forms.CharField(required=False)


class ReportExport(QuerySetExport):
    """All users by name. Members of the group `refused` may not have it."""

    file_type = "report"
    title = "Monthly report"
    form_class = MonthForm
    formats = ("csv", "xlsx")
    columns = (Column("username", "Name"),)
    queue_name = "small"

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any]:
        return get_user_model().objects.order_by("username")

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        return not user.groups.filter(name=REFUSED).exists()


class UntilForm(forms.Form):
    """`until` is the path of a file: once it is there, the export ends. `log` gets a line for each attempt."""

    until = forms.CharField()
    log = forms.CharField()


class LongExport(QuerySetExport):
    """Writes a row every PACE_SECONDS until it is let go, and leaves a line in a log when it begins and ends."""

    file_type = "long"
    title = "Long report"
    form_class = UntilForm
    formats = ("csv",)
    queue_name = "small"

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        return True

    def produce(self, run: Run) -> ExportResult:
        criteria = self.restore(run.export)
        note(criteria["log"], f"begin {run.claim.epoch}")
        rows = 0
        run.progress.writing(None)
        with run.path.open("xb") as file:
            while not Path(criteria["until"]).exists():
                run.check()
                file.write(b"one more row\r\n")
                rows += 1
                run.progress.rows(rows)
                time.sleep(PACE_SECONDS)
        note(criteria["log"], f"end {run.claim.epoch}")
        return ExportResult(self.get_filename(run.export), "text/csv; charset=utf-8", rows, {"rows_asked": rows})


def note(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


def register_all() -> None:
    for exporter in (ReportExport, LongExport):
        registry.register(exporter)


@contextmanager
def open_office() -> Iterator[None]:
    """Inside, the exports of the office are registered in this process."""
    before = dict(registry.handlers)
    register_all()
    try:
        yield
    finally:
        registry.handlers.clear()
        registry.handlers.update(before)

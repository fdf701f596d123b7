"""The exports of a storm: a table of parcels, and three exports that misbehave."""

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from django import forms
from django.db.models import QuerySet

from exports.exporters import Column, QuerySetExport
from exports.models.request import AnyUser
from exports.models.result import ExportResult
from exports.worker.runner import Run
from tests.storm.models import Parcel

SMALL = 200
HANG_SECONDS = 10_000


class RangeForm(forms.Form):
    """Choose `rows` parcels, beginning with the number `first`."""

    first = forms.IntegerField(min_value=1)
    rows = forms.IntegerField(min_value=0)


class ParcelExport(QuerySetExport):
    file_type = "parcels"
    title = "Parcels"
    form_class = RangeForm
    formats = ("csv", "xlsx")
    columns = (Column("number", "Number"), Column("name", "Name"), Column("price", "Price"), Column("day", "Day"))

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Parcel]:
        first = criteria["first"]
        return Parcel.objects.filter(number__gte=first, number__lt=first + criteria["rows"]).order_by("number")

    def get_queue_name(self, user: AnyUser, criteria: Mapping[str, Any]) -> str:
        return "small" if criteria["rows"] <= SMALL else "large"


class NewerExport(ParcelExport):
    """An export that only hosts with the newer code know, during an upgrade of one host after the other."""

    file_type = "newer"


class PoisonExport(ParcelExport):
    """Kill every process that runs it."""

    file_type = "poison"

    def produce(self, run: Run) -> ExportResult:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


class SleepingExport(ParcelExport):
    """Write a row, then hang in a call that lets other threads run."""

    file_type = "sleeping"

    def produce(self, run: Run) -> ExportResult:
        run.begin(None)
        run.advance(1)
        time.sleep(HANG_SECONDS)
        raise AssertionError("unreachable")


class SpinningExport(ParcelExport):
    """Write a row, then hang in a call that lets no other thread run."""

    file_type = "spinning"

    def produce(self, run: Run) -> ExportResult:
        run.begin(None)
        run.advance(1)
        # A single call into C, which never releases the interpreter's lock.
        sum(range(10**15))
        raise AssertionError("unreachable")


EXPORTS = (ParcelExport, PoisonExport, SleepingExport, SpinningExport)

"""Count the functions of the app that one export of three rows calls. bin/trace runs it; it is not in the test suite.

The first export of a process is not counted: it also pays for what is set up once (imports, caches, lazy translations).
"""

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse

from exports.exporters import Column, QuerySetExport, registry
from exports.models import FileRequest
from exports.models.request import AnyUser
from exports.worker import loop

APP = str(Path(__file__).resolve().parent.parent / "exports") + "/"


class Trace:
    """The functions of the app that were called, as (file, line of the definition)."""

    def __init__(self) -> None:
        self.called: set[tuple[str, int]] = set()

    def run(self, step: Callable[[], Any]) -> Any:
        """Return what `step()` returns, and record the calls in all threads meanwhile."""
        threading.setprofile(self._record)
        sys.setprofile(self._record)
        try:
            return step()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _record(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(APP) and code.co_name != "<module>":
            self.called.add((code.co_filename, code.co_firstlineno))

    def __str__(self) -> str:
        return f"{len({file for file, _ in self.called})} files, {len(self.called)} functions"


class NamesExport(QuerySetExport):
    """Three rows of users."""

    file_type = "names"
    title = "Names"
    formats = ("csv",)
    columns = (Column("username", "Name"), Column("date_joined", "Joined"))

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any]:
        return get_user_model().objects.order_by("username")

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        return True


@pytest.mark.django_db(transaction=True)
def test_trace(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    registry.register(NamesExport)
    try:
        users = [get_user_model().objects.create_user(name) for name in ("ada", "ben", "cleo")]
        client.force_login(users[0])
        export_once(client)
        traces = export_once(client)
    finally:
        del registry.handlers["names"]
    with capsys.disabled():
        print()
        for name, trace in traces.items():
            print(f"{name:<10}{trace}")


def export_once(client: Client) -> dict[str, Trace]:
    traces = {name: Trace() for name in ("POST", "worker", "poll", "download")}
    response = traces["POST"].run(lambda: client.post(reverse("exports:form", args=["names"]), {"format": "csv"}))
    assert response.status_code in (201, 303), response.content
    export = FileRequest.objects.latest("requested_at")
    traces["worker"].run(lambda: loop.dispatch(export.pk))
    export.refresh_from_db()
    assert (export.status, export.rows_done) == ("ready", 3)
    address = reverse("exports:detail", args=[export.pk])
    state = traces["poll"].run(lambda: client.get(address, headers={"Accept": "application/json"})).json()
    content = traces["download"].run(lambda: client.get(state["urls"]["ticket"]).getvalue())
    assert content.count(b"\n") == 4
    return traces

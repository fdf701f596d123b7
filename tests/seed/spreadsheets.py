from collections.abc import Iterable
from io import BytesIO
from typing import Any

from django.core.files.base import ContentFile
from xlsxwriter import Workbook

from tests.seed.models import LoginEvent

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def write_xlsx(events: Iterable[LoginEvent]) -> ContentFile:
    buffer = BytesIO()
    write_events(events, buffer)
    return ContentFile(buffer.getvalue())


def write_events(events: Iterable[LoginEvent], buffer: Any) -> None:
    with Workbook(buffer, {"in_memory": True}) as workbook:
        sheet = workbook.add_worksheet()
        sheet.write_row(0, 0, ["id", "succeeded"])
        for row, event in enumerate(events, start=1):
            sheet.write_row(row, 0, [event.pk, event.succeeded])

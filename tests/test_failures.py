"""Bugs in a project's own code: its developer sees them, production says where they are, and row data stays private."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas
import pytest
from django.db import DatabaseError, OperationalError, connection
from django.db.models import QuerySet, Value

from exports import failures
from exports.exporters import Column, QuerySetExport, SheetDesign
from exports.models import FileRequest, Status
from exports.models.request import AnyUser
from exports.worker import loop
from tests.office import people
from tests.office.browsers import HTML, signed_in, url_of
from tests.shop.exports import registered
from tests.shop.models import EveryField, Order
from tests.shop.requests import queued
from tests.shop.runs import configure, use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

CELL = "private-cell"


class NamelessError(Exception):
    pass


class Nameless:
    """A value without a text."""

    def __init__(self, order: Order) -> None:
        self.number = order.number

    def __str__(self) -> str:
        if self.number == CELL:
            raise NamelessError(self.number)
        return self.number


def share(order: Order) -> float:
    return 1 / (order.quantity or 0)


@pytest.fixture(autouse=True)
def orders(settings: Any, tmp_path: Path) -> list[Order]:
    use_folders(settings, tmp_path)
    numbers = [*map(str, range(700)), CELL, "last"]
    return Order.objects.bulk_create(Order(number=each, quantity=each != CELL) for each in numbers)


def run(format: str = "csv", **attributes: Any) -> FileRequest:
    """Run an export of the orders with these attributes of its class, once."""
    attributes = {
        "file_type": "wrong",
        "formats": (format,),
        "columns": (Column("number"),),
        "get_queryset": lambda self, user, criteria: Order.objects.order_by("pk"),
        **attributes,
    }
    attributes = {name: value for name, value in attributes.items() if value is not None}
    export = queued(file_type="wrong", format=format)
    with registered(type("WrongExport", (QuerySetExport,), attributes)):
        loop.WorkerLoop(None).run_due()
    export.refresh_from_db()
    return export


# What a developer and staff learn


def test_in_production_the_detail_names_place_column_and_key_and_no_message(
    orders: list[Order], caplog: pytest.LogCaptureFixture
) -> None:
    export = run(columns=(Column("number"), Column("share", source=share)))

    key = orders[-2].pk
    line = share.__code__.co_firstlineno + 1
    place = f"tests/test_failures.py:{line} in share; column 'share', row with primary key {key}"
    assert export.error_detail == f"ZeroDivisionError at {place}"
    [record] = [each for each in caplog.records if each.name == "exports.worker.runner"]
    assert (record.levelname, record.exc_info) == ("ERROR", None)
    assert export.error_detail in record.getMessage()


@pytest.mark.parametrize("changes", [{"DEBUG": True}, {"LOG_EXCEPTIONS": True}])
def test_message_and_traceback_are_logged_in_development_and_by_the_setting(
    changes: dict[str, bool], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DEBUG = changes.get("DEBUG", False)
    configure(settings, LOG_EXCEPTIONS=changes.get("LOG_EXCEPTIONS"))

    export = run(columns=(Column("number"), Column("share", source=share)))

    for text in ("Traceback", "return 1 / (order.quantity or 0)", "division by zero", "column 'share', row with"):
        assert text in caplog.text
    assert ("division by zero" in export.error_detail) == settings.DEBUG


def test_without_the_setting_nothing_private_is_logged_in_development(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DEBUG = True
    configure(settings, LOG_EXCEPTIONS=False)

    export = run(columns=(Column("name", source=Nameless),))

    assert CELL not in caplog.text + export.error_detail


def test_the_place_is_not_in_a_compiled_module_of_another_package() -> None:
    with pytest.raises(ValueError, match="ISO8601") as error:
        pandas.to_datetime(["2026-01-01T10:00Z", "2026-01-01Z"], format="ISO8601")
    assert "tests/test_failures.py:" in failures.describe_error(error.value)


def test_the_place_is_in_the_project_and_not_in_django() -> None:
    def get_queryset(self: QuerySetExport, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Order]:
        return Order.objects.filter(colour="red")

    export = run(get_queryset=get_queryset)

    assert export.error_detail.startswith("FieldError at tests/test_failures.py:")
    assert export.error_detail.endswith(" in get_queryset")


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("format", ["csv", "xlsx", "jsonl", "parquet"])
def test_a_value_that_makes_no_cell_is_named_by_column_and_row(format: str, processes: int) -> None:
    export = run(format, columns=(Column("number"), Column("name", source=Nameless)), processes=processes)

    assert export.error_detail.startswith("NamelessError at tests/test_failures.py:")
    assert export.error_detail.endswith(" in __str__; column 'name', row 701")


def test_a_field_that_cannot_read_its_value_is_named_by_column_and_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_db_value(self: Any, value: str, *args: Any) -> str:
        if value == CELL:
            raise NamelessError(value)
        return value

    monkeypatch.setattr("tests.shop.models.ShoutedField.from_db_value", from_db_value)
    EveryField.objects.bulk_create(EveryField(shouted=text) for text in ("a", CELL, "b"))

    export = run(
        columns=(Column("small"), Column("shouted")), get_queryset=lambda *args: EveryField.objects.order_by("pk")
    )

    assert export.error_detail.endswith(" in from_db_value; column 'shouted', row 2")


def test_a_rejected_formula_is_named_by_column_and_row() -> None:
    Order.objects.filter(number=CELL).update(number="=1+1")
    export = queued(file_type="orders", format="csv", options={"formulas": "reject"})

    loop.WorkerLoop(None).run_due()

    export.refresh_from_db()
    assert export.error_code == "formula_rejected"
    assert "column 'number', row 701" in export.error_detail


def write_into_a_row(self: QuerySetExport, sheet: SheetDesign) -> None:
    sheet.worksheet.write(1, 0, "into a row")


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"format": "xlsx", "design": write_into_a_row}, "A `design` hook wrote or formatted rows below the header."),
        (
            {"get_queryset": None},
            "WrongExport must define get_queryset, get_rows or get_arrow.",
        ),
        ({"columns": ()}, "A file needs at least one column."),
    ],
)
def test_what_the_app_says_about_a_declaration_is_in_the_detail(attributes: dict[str, Any], sentence: str) -> None:
    export = run(**attributes)

    assert export.error_code == "export_failed"
    assert f"{sentence} " in export.error_detail


def test_only_staff_see_the_detail_on_the_page_and_in_development_the_owner(settings: Any) -> None:
    export = run(get_queryset=None)
    pages = [export.requester, people.staff("viewer", people.VIEW)]

    shown = ["must define" in signed_in(user).get(url_of("page", export), headers=HTML).text for user in pages]

    assert shown == [False, True]
    settings.DEBUG = True
    assert "must define" in signed_in(export.requester).get(url_of("page", export), headers=HTML).text


# Errors of the database that will not pass


@pytest.mark.parametrize(
    "change",
    [
        lambda orders: orders.extra(select={"number": "no_column"}),
        lambda orders: orders.extra(where=["selec"]),
        lambda orders: orders.annotate(**{f"column{number}": Value(number) for number in range(2100)}),
    ],
    ids=["missing column", "syntax", "too many columns"],
)
def test_a_statement_that_is_wrong_is_not_tried_again(change: Callable[[Any], Any]) -> None:
    export = run(
        columns=(Column("number"), Column("made", source=lambda order: order.number)),
        get_queryset=lambda *args: change(Order.objects.order_by("pk")),
    )

    assert (export.status, export.error_code, export.attempts) == (Status.FAILED, "export_failed", 1)
    assert export.error_detail.startswith(("OperationalError [", "ProgrammingError ["))


def test_a_permission_rule_with_a_wrong_statement_refuses_and_does_not_wait() -> None:
    def has_permission(self: QuerySetExport, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        return Order.objects.extra(where=["no_column"]).exists()

    export = run(has_permission=has_permission)

    assert (export.status, export.error_code, export.attempts) == (Status.FAILED, "export_failed", 1)


def raised_by(statement: str) -> DatabaseError:
    with pytest.raises(DatabaseError) as raised, connection.cursor() as cursor:
        cursor.execute(statement)
    return raised.value


def test_locks_and_lost_connections_may_pass_and_statements_that_took_too_long_may_not() -> None:
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        connection.connection.execute("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            assert failures.may_pass(raised_by("DELETE FROM shop_order"))
        finally:
            other.close()
            connection.close()
    else:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 1")
        assert not failures.may_pass(raised_by("SELECT pg_sleep(1)"))
        assert failures.may_pass(raised_by("SELECT pg_terminate_backend(pg_backend_pid())"))
        connection.close()
    assert failures.may_pass(OperationalError("without a code of the database"))

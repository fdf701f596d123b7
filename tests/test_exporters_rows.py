"""Exports of rows that are no queryset (get_rows), and of querysets that used to fail: unions of values(), managers."""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas
import pytest
from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, QuerySet

from exports import services, storage
from exports.exceptions import DeclarationError
from exports.exporters import Column, QuerySetExport, Sheet
from exports.models import FileRequest, Status
from exports.worker import loop
from tests.shop.exports import registered
from tests.shop.models import Customer, Order
from tests.shop.requests import user
from tests.shop.runs import use_folders
from tests.test_exporters_sheets import sheets_of
from tests.test_readers_explain import output

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
Named = namedtuple("Named", ["moment", "name", "price"])


@dataclass
class Bought:
    name: str
    price: Decimal | None
    moment: datetime | None


TUPLES = [("Ada", Decimal("1.20"), MOMENT), ("Bob", None, None)]
DICTS = [{"name": "Ada", "price": Decimal("1.20"), "moment": MOMENT}, {"name": "Bob"}]
SOURCES: dict[str, Callable[[], Any]] = {
    "dicts": lambda: DICTS,
    "tuples": lambda: TUPLES,
    "lists": lambda: list(map(list, TUPLES)),
    "named tuples": lambda: [Named(moment, name, price) for name, price, moment in TUPLES],
    "dataclasses": lambda: [Bought(*values) for values in TUPLES],
    "DataFrame": lambda: pandas.DataFrame(DICTS),
    "generator": lambda: (row for row in DICTS),
}


TWICE = pandas.DataFrame([["Ada", "Bob", 1, None]], columns=["name", "name", "price", "moment"])


class RowsExport(QuerySetExport):
    file_type = "rows"
    title = "Rows"
    formats = ("csv", "xlsx", "jsonl", "tsv")
    columns = (Column("name"), Column("price"), Column("moment", "Bought at"))

    def get_rows(self, user: Any, criteria: Mapping[str, Any]) -> Any:
        return DICTS


@pytest.fixture(autouse=True)
def folders(settings, tmp_path):
    use_folders(settings, tmp_path)


def made(exporter: type[QuerySetExport] = RowsExport, *, format: str = "csv", **attributes: Any) -> FileRequest:
    """Return the export after its run. `attributes` replace those of the class; functions take no arguments."""
    attributes = {
        name: (lambda *args, value=value: value()) if name.startswith("get_") else value
        for name, value in attributes.items()
    }
    with registered(type("Made", (exporter,), attributes)):
        export, _ = services.request_export(user(), exporter.file_type, {}, format=format)
        assert loop.dispatch(export.pk)
    return FileRequest.objects.get(pk=export.pk)


def lines_of(export: FileRequest) -> list[str]:
    assert export.status == Status.READY, export.error_detail
    with storage.open_file(export.filehandle.name) as file:
        return file.read().decode("utf-8-sig").splitlines()


# What get_rows may return


@pytest.mark.parametrize("source", SOURCES)
def test_rows_of_every_kind_become_the_same_file(source):
    export = made(get_rows=SOURCES[source])
    assert lines_of(export) == ["Name,Price,Bought at", "Ada,1.20,2026-03-01T12:00:00+00:00", "Bob,,"]
    assert export.receipt["rows_asked"] == (None if source == "generator" else 2)
    assert (export.rows_done, export.queue_name) == (2, "large")


@pytest.mark.parametrize("format", RowsExport.formats)
def test_rows_are_written_in_every_format(format):
    export = made(format=format)
    assert (export.status, export.receipt["rows"]) == (Status.READY, 2)


def test_missing_values_of_a_dataframe_are_empty_cells():
    frame = pandas.DataFrame({
        "name": pandas.Categorical(["Ada", None]), "price": [1.5, float("nan")],
        "moment": pandas.to_datetime(["2026-03-01T12:00Z", None]),
    })  # fmt: skip
    assert lines_of(made(get_rows=lambda: frame))[1:] == ["Ada,1.5,2026-03-01T12:00:00+00:00", ",,"]


def test_a_raw_queryset_gives_objects():
    Customer.objects.create(name="Ada", city="Oslo")
    raw = Customer.objects.raw("SELECT id, name, city FROM shop_customer")
    columns = [Column("name"), Column("town", source="city"), Column("both", source=lambda row: f"{row} {row.city}")]
    assert lines_of(made(get_rows=lambda: raw, columns=columns)) == ["Name,Town,Both", "Ada,Oslo,Ada Oslo"]


def test_rows_are_made_in_the_worker_and_read_in_batches(settings):
    settings.EXPORTS = settings.EXPORTS | {"BATCH_ROWS": 2}
    seen: list[str] = []

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(5):
            seen.append(FileRequest.objects.get().status)
            yield {"name": f"{FileRequest.objects.get().rows_done} {number}"}

    assert len(lines_of(made(get_rows=rows))) == 6
    assert seen == [Status.RUNNING] * 5


def test_columns_withheld_from_tuples_leave_the_others_in_place():
    columns = [Column("name", permission="shop.change_order"), Column("price"), Column("moment")]
    assert lines_of(made(get_rows=lambda: TUPLES, columns=columns))[:2] == [
        "Price,Moment",
        "1.20,2026-03-01T12:00:00+00:00",
    ]


def test_sheets_may_have_rows_and_querysets():
    Customer.objects.create(name="Cid")
    sheets = [
        Sheet("A", [("Ada", 1)], [Column("name"), Column("n")]),
        Sheet("B", Customer.objects, [Column("name")]),
    ]
    export = made(get_sheets=lambda: sheets, format="xlsx")
    assert sheets_of(export) == {"A": [("Name", "N"), ("Ada", 1)], "B": [("Full name",), ("Cid",)]}
    assert (export.queue_name, export.receipt["rows_asked"]) == ("small", 2)


# Errors


@pytest.mark.parametrize(
    ("attributes", "code", "detail"),
    [
        ({"get_rows": lambda: [(1, 2)]}, "export_failed", "A row has 2 values, and the export has 3 columns."),
        ({"get_rows": lambda: [(1, 2)], "columns": ["a", "a"]}, "duplicate_column", "Two columns have the name 'a'"),
        ({"get_rows": lambda: ["Ada"]}, "unknown_column", "Column 'name': there is no 'name' in str"),
        ({"get_rows": lambda: pandas.DataFrame({"nome": [1]})}, "unknown_column", "Did you mean 'nome'?"),
        ({"get_rows": lambda: pandas.DataFrame({("name", "x"): [1]})}, "unknown_column", "no 'name' in the DataFrame"),
        ({"get_rows": lambda: TWICE}, "export_failed", "Several columns of the DataFrame have one name: name, name,"),
        ({"get_rows": lambda: None}, "export_failed", "The rows of the sheet 'Rows' are a NoneType:"),
        ({"columns": [Column("x", source=Count("pk"))]}, "unknown_column", "Use a callable, which takes the row."),
        ({"columns": [Column("x", source=lambda row: row["price"])]}, "export_failed", "column 'x', row 2"),
        ({"columns": [Column("x", source=lambda row: next(iter([])))]}, "export_failed", "column 'x', row 1"),
        ({"max_rows": 1}, "too_many_rows", ""),
    ],
)
def test_rows_that_do_not_fit_fail_the_export_with_the_reason(attributes, code, detail):
    export = made(**attributes)
    assert (export.status, export.error_code) == (Status.FAILED, code)
    assert detail in export.error_detail


def test_a_length_that_the_rows_do_not_have_fails_the_export():
    class Longer(list):
        def __len__(self) -> int:
            return 3

    export = made(get_rows=lambda: Longer(DICTS))
    assert (export.error_code, "3 rows were counted for 'Rows', and 2 were read" in export.error_detail) == (
        "rows_differ",
        True,
    )


def test_a_generator_is_closed_when_its_export_fails():
    closed: list[bool] = []

    def rows() -> Iterator[dict[str, Any]]:
        try:
            yield from DICTS * 1000
        finally:
            closed.append(True)

    assert made(get_rows=rows, max_rows=600).status == Status.FAILED
    assert closed == [True]


def test_the_command_explain_says_that_rows_come_from_python():
    with registered(RowsExport):
        assert output("rows") == "Rows: rows from Python (list), read in batches.\n"


# What get_queryset may return


class CustomersExport(QuerySetExport):
    file_type = "customers"
    formats = ("csv",)
    columns = (Column("name"),)


def test_get_queryset_may_return_a_manager():
    Customer.objects.create(name="Ada")
    assert lines_of(made(CustomersExport, get_queryset=lambda: Customer.objects)) == ["Full name", "Ada"]


@pytest.mark.parametrize("found", [
    [], Customer.objects.raw("SELECT 1"), (row for row in DICTS), None,
])  # fmt: skip
def test_other_rows_from_get_queryset_are_an_error_that_names_get_rows(found):
    class Export(CustomersExport):
        def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> Any:
            return found

    with pytest.raises(DeclarationError, match=rf"get_queryset\(\) returned a {type(found).__name__}.*get_rows"):
        Export().get_sheets(AnonymousUser(), {})


UNIONS: dict[str, Callable[[QuerySet, QuerySet], QuerySet]] = {
    "union": lambda first, second: first.union(second),
    "union all": lambda first, second: first.union(second, all=True),
    "ordered union": lambda first, second: first.union(second).order_by("-name"),
    "sliced union": lambda first, second: first.union(second).order_by("name")[1:],
    "intersection": lambda first, second: first.intersection(second),
    "difference": lambda first, second: first.difference(second),
}


@pytest.mark.parametrize("combine", UNIONS)
def test_a_union_of_values_has_the_rows_of_the_queryset(combine):
    for name in ("Ada", "Bob"):
        Order.objects.create(number="1", customer=Customer.objects.create(name=name))
    first = Customer.objects.prefetch_related("orders").values("name").annotate(count=Count("orders"))
    union = UNIONS[combine](first, first.filter(name="Bob"))
    export = made(CustomersExport, get_queryset=lambda: union, columns=[Column("count"), Column("name")])
    expected = [f"{row['count']},{row['name']}" for row in union]
    assert sorted(lines_of(export)[1:]) == sorted(expected)

"""Columns with display=True: labels of choices and str() of related objects; relations without it; names as columns."""

import io
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.db import connection
from django.db.models import Count, QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from django.utils.translation import gettext_lazy

from exports.exceptions import UnknownColumn
from exports.exporters import Column, QuerySetExport
from exports.exporters.base import dialect_of, table_of, write_now
from exports.tabular.cells.plain_values import python_values
from exports.tabular.readers import explain, querysets, resolve
from tests.shop.exports import registered
from tests.shop.models import Customer, Order

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

STATUS, CUSTOMER = Column("status", display=True), Column("customer", display=True)
COLUMNS = [Column("number"), STATUS, CUSTOMER, Column("customer__tier", display=True)]
EXPECTED = [["A", "Open", "Ada", "Gold"], ["B", "lost", None, None], ["C", "Sent", "Bob", "Basic"]]


@pytest.fixture(autouse=True)
def orders() -> None:
    ada = Customer.objects.create(name="Ada", tier="gold")
    Order.objects.create(number="A", customer=ada)
    Order.objects.create(number="B", status="lost")
    Order.objects.create(number="C", status="sent", customer=Customer.objects.create(name="Bob"))


def read(queryset: QuerySet[Any], columns: Sequence[Column], size: int = 500) -> list[list[Any]]:
    """Return the rows as the readers give them."""
    resolved = resolve.resolve(queryset, columns)
    rows: list[tuple[Any, ...]] = []
    for batch in querysets.batches(queryset, resolved, size=size):
        rows += zip(*(python_values(batch[place], UTC) for place in range(len(columns))), strict=True)
    return list(map(list, rows))


def lines(columns: Sequence[Column], processes: int = 1) -> list[str]:
    file = io.BytesIO()
    with table_of(Order.objects.order_by("number"), columns, dialect=dialect_of("csv", {})) as table:
        write_now(table, file, format="csv", options={"bom": False}, title="", processes=processes)
    return file.getvalue().decode().splitlines()


CALLABLE = Column("key", source=lambda order: order.pk)
WAYS: dict[str, Callable[[], tuple[QuerySet[Any], list[Column]]]] = {
    "the fastest": lambda: (Order.objects.order_by("number"), COLUMNS),
    "instances": lambda: (Order.objects.order_by("number"), [*COLUMNS, CALLABLE]),
    "values": lambda: (Order.objects.order_by("number").values(*(column.name for column in COLUMNS)), COLUMNS),
    "union": lambda: (Order.objects.filter(pk=None).union(Order.objects.all()).order_by("number"), COLUMNS),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_labels_and_related_objects_are_shown_however_the_rows_are_read(way: str) -> None:
    queryset, columns = WAYS[way]()
    for size in (500, 1):
        assert [row[: len(COLUMNS)] for row in read(queryset, columns, size)] == EXPECTED


def test_an_error_of_a_related_object_names_the_column_and_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Customer, "__str__", lambda customer: customer.no_such_name)
    with pytest.raises(AttributeError) as error:
        read(Order.objects.order_by("number"), [CUSTOMER])
    assert error.value.__notes__ == [f"column 'customer', Customer with key {Customer.objects.get(name='Ada').pk}"]


def test_labels_are_in_the_active_language(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = [("Group", [("open", gettext_lazy("Yes"))]), ("sent", gettext_lazy("No"))]
    monkeypatch.setattr(Order._meta.get_field("status"), "choices", choices)
    with translation.override("de"):
        assert lines([STATUS, Column("number")]) == ["Status,Order number", "Ja,A", "lost,B", "Nein,C"]


def test_labels_of_groups_and_labels_in_other_processes() -> None:
    counted = Order.objects.values("status").annotate(count=Count("pk"))
    assert read(counted, [STATUS, Column("count")]) == [["lost", 1], ["Open", 1], ["Sent", 1]]
    assert lines(COLUMNS, processes=2)[1:] == ["A,Open,Ada,Gold", "B,lost,,", "C,Sent,Bob,Basic"]


def test_related_objects_are_read_once_for_a_batch() -> None:
    Order.objects.bulk_create(Order(number=f"D{number}", customer=Customer.objects.first()) for number in range(50))
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert len(read(Order.objects.all(), [CUSTOMER], size=10)) == 53
    assert sum("full" in query["sql"] or '"shop_customer"."name"' in query["sql"] for query in captured) <= 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no COPY")
def test_labels_keep_copy_and_related_objects_say_why_not() -> None:
    queryset = Order.objects.all()
    assert explain.explain(queryset, [STATUS]).strategy == "copy"
    explained = explain.explain(queryset, [CUSTOMER])
    assert explained.strategy == "cursor"
    assert "displays related objects" in explained.reasons[0]


@pytest.mark.parametrize(("column", "words"), [
    (Column("customer"), ["display=True", "'customer_id'", "'customer__name'"]),
    (Column("buyer", source="customer"), ["display=True", "'customer_id'"]),
    (Column("number", display=True), ["display=True is for relations and for fields with choices"]),
    (Column("placed_at__year", display=True), ["display=True is for relations"]),
])  # fmt: skip
def test_a_relation_must_say_what_to_show_and_other_fields_cannot(column: Column, words: list[str]) -> None:
    with pytest.raises(UnknownColumn) as raised:
        resolve.resolve(Order.objects.all(), [column])
    assert all(word in str(raised.value) for word in words)


@pytest.mark.parametrize("arguments", [{"kind": "integer"}, {"source": len}, {"source": Count("pk")}])
def test_display_needs_a_path_and_decides_the_kind(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="display=True is for the path of a field"):
        Column("status", display=True, **arguments)


def test_names_are_columns_and_a_plain_relation_is_an_error_of_check() -> None:
    class NamedExport(QuerySetExport):
        file_type, permission = "named", "shop.view_order"
        columns = ("number", STATUS, "customer")

        def get_queryset(self, user: Any, criteria: Any) -> QuerySet[Order]:
            return Order.objects.all()

    with registered(NamedExport):
        messages = [message for message in run_checks(tags=["exports"]) if message.obj is NamedExport]
    assert NamedExport.columns == [Column("number"), STATUS, Column("customer")]
    assert len(messages) == 1
    assert "display=True" in messages[0].msg
    [sheet] = NamedExport().declared_sheets(User(), {})
    assert [column.name for column in sheet.columns] == ["number", "status", "customer"]

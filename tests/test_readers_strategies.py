"""Every strategy gives the same cells as the ORM's own values, whatever the rows hold."""

import pickle
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from json import JSONDecoder
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.postgres import fields as postgres
from django.db import OperationalError, ProgrammingError, connection, models, transaction
from django.db.models import Avg, Count, Exists, ExpressionWrapper, F, Func, Max, OuterRef, Q, QuerySet, Sum, Value
from django.db.models.functions import Cast, Coalesce, ExtractYear, Lower, Now, TruncDate, TruncMonth
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exports import failures
from exports.tabular.cells.csv import to_csv_cells
from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.plain_values import python_values
from exports.tabular.cells.raw_columns import row_count
from exports.tabular.columns import Alterations, Column
from exports.tabular.readers import django_internals, explain, psycopg_internals, querysets, resolve
from exports.tabular.writers.pickling import picklable_batch
from tests.cell_values import comparable as shown
from tests.shop.databases import connection_zone, needs_postgres, needs_sqlite
from tests.shop.every_field import ALL_FIELDS, PLAIN_FIELDS, flat_json, json_values, save
from tests.shop.models import Customer, EveryField, Seat

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

FASTEST = "copy" if connection.vendor == "postgresql" else "cursor"
BERLIN = ZoneInfo("Europe/Berlin")


def cells(declared: Sequence[Column], batch: Sequence[Sequence[Any]], zone: tzinfo) -> list[Any]:
    """The values of a batch for custom writers, and its cells as text and for sheets, with the alterations of each."""
    text, sheet = Alterations(), Alterations()
    columns = [(column, batch[place]) for place, column in enumerate(declared)]
    return [
        # repr() tells 1 from True and from 1.0.
        [repr(python_values(values, zone)) for _, values in columns],
        [list(to_csv_cells(column, values, zone=zone, alterations=text)) for column, values in columns],
        [shown(to_excel_cells(column, values, zone=zone, alterations=sheet)) for column, values in columns],
        dict(text),
        dict(sheet),
    ]


def check(queryset: QuerySet, names: Sequence[str], strategy: str, *, zone: tzinfo = UTC) -> None:
    """Compare the cells that `strategy` gives with those of the values that values_list() gives."""
    declared = resolve.resolve(queryset, [Column(name) for name in names])
    selected = [*declared, Column("c", source=lambda row: row.pk)] if strategy == "instances" else declared
    explained = explain.explain(queryset, selected)
    assert explained.strategy == strategy, explained.reasons
    ordered = queryset if queryset.query.is_sliced else queryset.order_by(*queryset.query.order_by, "pk")
    expected = list(ordered.values_list(*names))
    batches = list(querysets.batches(queryset, selected, size=7))
    chunks = [expected[start : start + 7] for start in range(0, len(expected), 7)]
    assert list(map(row_count, batches)) == list(map(len, chunks))
    for batch, chunk in zip(batches, chunks, strict=True):
        expected_cells = cells(declared, list(zip(*chunk, strict=True)), zone)
        if strategy != "instances":
            assert cells(declared, pickle.loads(pickle.dumps(picklable_batch(batch))), zone) == expected_cells
        assert cells(declared, batch, zone) == expected_cells


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(json_values | flat_json, min_size=1, max_size=9))
@example(rows=[{"a": 1.0}, {"b": "1.50"}])
@example(rows=[{"a": {"a": 1}}, {"x1": 1, "x2": 2}])
@example(rows=["=1+1", 5, None, True, 1.5, [], {}])
def test_json_has_the_cells_of_its_values(rows):
    save([{"details": row} for row in rows])
    check(EveryField.objects.all(), ["details"], FASTEST)


@pytest.mark.parametrize("source", ["text", "shouted"])
def test_a_text_column_declared_as_json_is_written_as_json(source):
    save([{source: 'a"b'}])
    column = Column("text", kind="json", source=source)
    [batch] = querysets.batches(EveryField.objects.all(), [column])
    [cell] = to_csv_cells(column, batch[0], zone=UTC, alterations=Alterations())
    assert cell == {"text": '"a\\"b"', "shouted": '"A\\"B"'}[source]


class NextDayField(models.DateField):
    """A date with its own conversion."""

    def from_db_value(self, value: date | None, *args: Any) -> date | None:
        return value and value + timedelta(days=1)


EXPRESSIONS = {
    "double": F("big") * 2,
    "average": Avg("small"),
    "sum": Sum("big"),
    "sum_of_prices": Sum("price"),
    "lower": Lower("text"),
    "cast": Cast("small", models.FloatField()),
    "is_large": Q(small__gt=5),
    "count": Count("customer"),
    "day_of": TruncDate("moment"),
    "month_of": TruncMonth("moment"),
    "year_of": ExtractYear("moment"),
    "latest": Max("moment"),
    "last_day": Max("day"),
    "or_zero": Coalesce("weight", 0.0),
    "fixed": Value(5),
    "is_known": Exists(Customer.objects.filter(pk=OuterRef("customer"))),
    "price_as_text": Cast("price", models.TextField()),
    "share_of_price": F("price") / 3,
    "next_day": ExpressionWrapper(F("day"), NextDayField()),
    "decoded": ExpressionWrapper(F("details"), models.JSONField(decoder=JSONDecoder)),
}


def save_numbers() -> None:
    rows = [{"small": n, "big": n * 10**6 + 1, "price": Decimal(n) / 4, "text": "É", "weight": n / 3} for n in range(9)]
    for n, row in enumerate(rows):
        row |= {"moment": datetime(2013, 1, 2, 3, n, tzinfo=UTC), "day": date(2013, 1, 2), "details": {"n": n}}
    save([*rows, {"name": "empty"}])


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions_have_the_cells_of_their_values(name):
    save_numbers()
    queryset = EveryField.objects.annotate(**{name: EXPRESSIONS[name]})
    check(queryset, [name], explain.explain(queryset, [Column(name)]).strategy)
    check(queryset, ["id", name, "moment", "shouted", "price", "day"], "cursor")


@pytest.mark.parametrize("path", ["details__size", "details__list__0", "details__deep", "customer__name", "pk"])
def test_paths_have_the_cells_of_their_values(path):
    customer = Customer.objects.create(name="Ann")
    sizes = [1, 1.0, "x", None, True, [1, 2.50], {"a": "b"}]
    save([{"details": {"size": size, "list": [size]}} for size in sizes] + [{"details": None}, {"customer": customer}])
    check(EveryField.objects.all(), [path], explain.explain(EveryField.objects.all(), [Column(path)]).strategy)


def test_groups_of_values_have_the_cells_of_their_values():
    save([{"small": n % 3, "price": Decimal(n), "day": date(2013, 1, n % 2 + 1), "flag": n % 2 == 0} for n in range(9)])
    queryset = EveryField.objects.values("small", "day", "flag").annotate(n=Count("pk"), sum=Sum("big"))
    names = ["n", "day", "sum", "flag"]
    declared = resolve.resolve(queryset, list(map(Column, names)))
    assert explain.explain(queryset, declared).strategy == FASTEST
    expected = list(queryset.order_by("small", "day", "flag", "n", "sum").values_list(*names))
    [batch] = querysets.batches(queryset, declared)
    assert cells(declared, batch, UTC) == cells(declared, list(zip(*expected, strict=True)), UTC)


def test_a_composite_primary_key_is_read_by_the_orm():
    Seat.objects.create(line="A", number=1)
    explained = explain.explain(Seat.objects.all(), [Column("pk"), Column("line")])
    assert explained.reasons == ["The ORM makes composite primary keys."]
    [batch] = querysets.batches(Seat.objects.all(), [Column("pk"), Column("line")])
    assert [list(column) for column in batch] == [[("A", 1)], ["A"]]


@pytest.mark.parametrize("zone", ["Europe/Berlin", None])
def test_datetimes_of_a_database_in_another_zone_have_the_cells_of_their_values(zone, settings):
    save([{"moment": datetime(2013, 10, 27, 0, 30, tzinfo=UTC)}, {"moment": None}])
    settings.USE_TZ = zone is not None
    with connection_zone(zone):
        check(EveryField.objects.all(), ["moment", "small"], FASTEST if zone is None else "cursor", zone=BERLIN)
        reasons = explain.explain(EveryField.objects.all(), [Column("moment")]).reasons
    expected = [] if zone is None else [f"Column 'moment': the database's TIME_ZONE is {zone}, not UTC"]
    assert [reason.partition(", so")[0] for reason in reasons] == expected


# Versions of Django and psycopg that the fast ways were not checked against


@pytest.mark.parametrize("module", [django_internals, psycopg_internals])
def test_with_an_unchecked_version_the_orm_gives_the_same_cells(module, monkeypatch):
    save_numbers()
    monkeypatch.setattr(module, "CHECKED_VERSIONS", ())
    is_used = module is django_internals or connection.vendor == "postgresql"
    check(EveryField.objects.all(), PLAIN_FIELDS, "cursor" if is_used else FASTEST)
    check(EveryField.objects.all(), ALL_FIELDS, "cursor")
    check(EveryField.objects.all(), ["small", "moment", "details"], "instances")
    reasons = explain.explain(EveryField.objects.all(), [Column("name")]).reasons
    assert [reason.startswith("The ORM makes the rows: ") for reason in reasons] == [True] * is_used
    batches = list(querysets.batches(EveryField.objects.all(), [Column("name"), Column("moment")]))
    assert {type(batch) for batch in batches} == {list} if is_used else True


# What only one database stores


@needs_sqlite
@pytest.mark.parametrize(("column", "stored"), [
    ("moment", ["2013-01-02T03:04:05Z", "2013-01-02 03:04:05+02:00", "2013-01-02", "2013-01-02 03:04", "never"]),
    ("moment", ["2013-01-02T03:04:05", "2013-01-02 03:04:05.1", None, "2013-01-02 03:04:05.123456"]),
    ("day", ["2013-01-02", "2013-1-2", "never", None]),
    ("day", [20130102]), ("day", ["2013-01-02\n2013-01-03"]),
    ("clock", ["03:04:05.1", "03:04", None, "later"]),
    ("flag", [1, 0, 2, None]), ("weight", [1, 2.5, None, "heavy"]), ("small", [1, "many", None, 2.5]),
    ("reference", ["0123456789ABCDEF0123456789ABCDEF", None]),
    ("price", [1, 0.1, 2.675, 1.005, 0.125, -0.001, 123456789.125, 12345678901234.5, 0.285, None]),
    ("share", [0.1, 0.1234567895, 2.5e-10, 1e-9, None]),
    ("took", [1, None, -(10**12)]),
    ("details", ['{"a":1}', ' {"a": 1} ', '{"a": 1 }', '{ "a": 1}', '{"a": 1.50}', '{"a": -0}']),
    ("details", ['{"a": 1E2}', "[1e2]", '["\\u00e9"]', "[1,2]", "null", "5", '"x"', '["x\t y"]']),
])  # fmt: skip
def test_values_of_sqlite_that_django_would_not_store_are_converted_by_the_orm(column, stored):
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        for value in stored:
            cursor.execute(f"INSERT INTO shop_everyfield (name, {column}) VALUES ('x', %s)", [value])
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    check(EveryField.objects.all(), [column], "cursor")
    for row in EveryField.objects.all():
        check(EveryField.objects.filter(pk=row.pk), [column], "cursor")


@needs_postgres
def test_times_outside_pythons_calendar_stay_as_postgresql_writes_them():
    save([{}])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_everyfield SET moment = 'infinity', day = '0044-03-15 BC'")
    [batch] = querysets.batches(EveryField.objects.all(), [Column("moment"), Column("day")])
    assert [list(column) for column in batch] == [["infinity"], ["0044-03-15 BC"]]


@needs_postgres
@pytest.mark.parametrize(("template", "field"), [
    ("ARRAY[%(expressions)s]", postgres.ArrayField(models.DateTimeField())),
    ("tstzrange(%(expressions)s)", postgres.DateTimeRangeField()),
])  # fmt: skip
def test_values_within_arrays_and_ranges_are_objects_beside_a_column_that_is_text(template, field):
    save_numbers()
    pair = Func(F("moment"), F("moment") + timedelta(1), template=template, output_field=field)
    check(EveryField.objects.annotate(pair=pair), ["moment", "pair"], "cursor", zone=BERLIN)


@needs_postgres
def test_the_time_now_is_read_as_a_datetime():
    save([{}])
    [batch] = querysets.batches(EveryField.objects.all(), [Column("now", source=Now())])
    assert batch[0].family == "utc datetime"


@needs_postgres
def test_an_answer_that_is_not_that_of_copy_is_taken_for_an_outage():
    with pytest.raises(OperationalError) as raised, transaction.atomic():
        list(psycopg_internals.copy_rows(connection, "SELECT 1", (), 10, options="; SELECT 1", row_start=b""))
    assert failures.is_outage(raised.value)


@needs_postgres
def test_an_error_of_the_server_at_a_copy_is_no_outage():
    with pytest.raises(ProgrammingError) as raised, transaction.atomic():
        list(psycopg_internals.copy_rows(connection, "SELECT nothing", (), 10, options="", row_start=b""))
    assert not failures.is_outage(raised.value)

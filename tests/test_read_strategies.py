"""Every strategy gives the cells that the ORM's own values give, whatever stands in the rows."""

import pickle
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, models
from django.db.models import Avg, Count, Exists, F, Max, OuterRef, Q, QuerySet, Sum, Value
from django.db.models.functions import Cast, Coalesce, ExtractYear, Lower, Now, TruncDate, TruncMonth
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exports.tabular.cells.csv import to_csv_cells
from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.raw_columns import row_count
from exports.tabular.columns import Alterations, Column
from exports.tabular.readers import explain, querysets, resolve
from exports.tabular.writers.pickling import portable
from tests.shop.models import Customer
from tests.test_cells_texts import shown

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

needs_postgres = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="needs PostgreSQL")
needs_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="needs SQLite")


class Shouted(models.CharField):
    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        return value and value.upper()


class Everything(models.Model):
    """Every kind of field; made with the tables of the tests' shop."""

    small = models.SmallIntegerField(null=True)
    big = models.BigIntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    price = models.DecimalField(max_digits=20, decimal_places=2, null=True)
    share = models.DecimalField(max_digits=12, decimal_places=9, null=True)
    whole = models.DecimalField(max_digits=15, decimal_places=0, null=True)
    weight = models.FloatField(null=True)
    flag = models.BooleanField(null=True)
    day = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    clock = models.TimeField(null=True)
    text = models.TextField(null=True)  # noqa: DJ001
    name = models.CharField(max_length=100)
    slug = models.SlugField(null=True)  # noqa: DJ001
    address = models.GenericIPAddressField(null=True)
    file = models.FileField(null=True)
    reference = models.UUIDField(null=True)
    details = models.JSONField(null=True)
    customer = models.ForeignKey(Customer, models.CASCADE, null=True, related_name="+")
    # What no database hands over in one form.
    took = models.DurationField(null=True)
    content = models.BinaryField(null=True)
    shouted = Shouted(max_length=100, null=True)

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return self.name


PLAIN = [field.name for field in Everything._meta.fields if field.name not in ("took", "content", "shouted")]
ALL = [field.name for field in Everything._meta.fields]

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
odd = st.sampled_from(
    ["", "\\N", "\\", "\\.", "\t", "\n", "\r\n", "\\t", '"', "a\tb", "=1+1", "\\\\N", "NULL", "'", "%s"]
)
texts = odd | st.text(characters, max_size=20) | st.lists(odd, max_size=4).map("".join)
keys = st.text(characters, max_size=5) | st.sampled_from(["a", "b", "1.5", "x: y", ", "])
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts | st.sampled_from([1e22, 1.0, -0.0, 10**30, 1e-7, 1.5])
jsons = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
lines = st.dictionaries(keys, st.integers() | st.text("abc ,:{}[]", max_size=6), max_size=3)
moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 28)) | st.sampled_from(
    [datetime(1900, 2, 28, 23, 59, 59, 999999), datetime(2013, 3, 31, 1), datetime(2013, 10, 27, 0, 30, 0, 500_000)]
)


def decimals(digits: int, places: int) -> st.SearchStrategy[Decimal]:
    end = 10 ** min(digits, 17)
    few = st.integers(-10_000, 10_000)
    return (st.integers(1 - end, end - 1) | few).map(lambda number: Decimal(number).scaleb(-places))


fields = {
    "small": st.integers(-(2**15), 2**15 - 1),
    "big": st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
    "positive": st.integers(0, 2**31 - 1),
    "price": decimals(20, 2),
    "share": decimals(12, 9),
    "whole": decimals(15, 0),
    "weight": st.floats() | st.sampled_from([1e15, 1e16, 5.0, -0.0, 1e-5, 0.1, 2.0**-44, 5e-324]),
    "flag": st.booleans(),
    "day": st.dates() | st.dates(date(1900, 2, 1), date(1900, 4, 1)),
    "moment": moments.map(lambda moment: moment.replace(tzinfo=UTC)),
    "clock": st.times() | st.sampled_from([time(0), time(23, 59, 59, 999999), time(1, 2, 3, 120)]),
    "text": texts,
    "slug": st.sampled_from(["a-b", "", "-"]),
    "address": st.ip_addresses().map(str),
    "file": st.sampled_from(["", "a/b.txt"]),
    "reference": st.uuids(),
    "details": jsons | lines | lines,
    "took": st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
    "content": st.binary(max_size=5),
    "shouted": texts,
}
# Columns that are full, have gaps, or are empty.
columns = st.fixed_dictionaries({name: values | st.none() for name, values in fields.items()}, optional={"name": texts})


def save(rows: Sequence[dict[str, Any]]) -> None:
    Everything.objects.all().delete()
    json_null = Value(None, models.JSONField())
    for row in rows:
        row = {name: value for name, value in row.items() if value is not None or name == "details"}
        # None is NULL in half of the rows, JSON's null in the others.
        if row.get("details", 0) is None:
            row["details"] = json_null if len(row) % 2 else None
        Everything.objects.create(**row)


Cells = tuple[list[Any], Alterations]


def cells(declared: Sequence[Column], batch: Sequence[Sequence[Any]], zone: tzinfo) -> list[Any]:
    """All cells of a batch as text and for sheets, with the alterations of each."""
    text, sheet = Alterations(), Alterations()
    made = [batch[place] for place in range(len(declared))]
    return [
        [list(to_csv_cells(c, v, zone=zone, alterations=text)) for c, v in zip(declared, made, strict=True)],
        [shown(to_excel_cells(c, v, zone=zone, alterations=sheet)) for c, v in zip(declared, made, strict=True)],
        dict(text),
        dict(sheet),
    ]


def check(queryset: QuerySet, names: Sequence[str], strategy: str, *, zone: tzinfo = UTC) -> None:
    """The strategy's cells are those of the values that values_list gives."""
    declared = resolve.resolve(queryset, [Column(name) for name in names])
    explained = explain.explain(queryset, declared)
    assert explained.strategy == strategy, explained.reasons
    typed = list(queryset.order_by("pk").values_list(*names))
    found = list(querysets.batches(queryset, declared, size=7))
    chunks = [typed[start : start + 7] for start in range(0, len(typed), 7)]
    assert list(map(row_count, found)) == list(map(len, chunks))
    for batch, chunk in zip(found, chunks, strict=True):
        expected = cells(declared, list(zip(*chunk, strict=True)), zone)
        assert cells(declared, pickle.loads(pickle.dumps(portable(batch))), zone) == expected
        assert cells(declared, batch, zone) == expected


def fastest() -> str:
    return "copy" if connection.vendor == "postgresql" else "cursor"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(columns, min_size=1, max_size=12), zone=st.sampled_from([UTC, ZoneInfo("Europe/Berlin")]))
def test_the_cells_of_all_roads_are_those_of_the_values(rows, zone):
    save(rows)
    check(Everything.objects.all(), PLAIN, fastest(), zone=zone)
    check(Everything.objects.all(), ALL, "cursor", zone=zone)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(jsons | lines, min_size=1, max_size=9))
@example(rows=[{"a": 1.0}, {"b": "1.50"}])
@example(rows=[{"a": {"a": 1}}, {"x1": 1, "x2": 2}])
@example(rows=["=1+1", 5, None, True, 1.5, [], {}])
def test_json_is_written_as_its_values_are(rows):
    save([{"details": row} for row in rows])
    check(Everything.objects.all(), ["details"], fastest())


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.fixed_dictionaries({"price": fields["price"], "share": fields["share"]}), max_size=20))
def test_decimals_are_those_of_the_orm(rows):
    save(rows)
    check(Everything.objects.all(), ["price", "share"], fastest())


def test_a_text_column_that_is_declared_json_is_json():
    save([{"text": 'a"b'}])
    for source in ("text", "shouted"):
        column = Column("text", kind="json", source=source)
        [batch] = querysets.batches(Everything.objects.all(), [column])
        expected = '"a\\"b"' if source == "text" else None
        assert list(to_csv_cells(column, batch[0], zone=UTC, alterations=Alterations())) == [expected or ""]


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
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions_give_the_cells_of_their_values(name):
    rows = [{"small": n, "big": n * 10**6 + 1, "price": Decimal(n) / 4, "text": "É", "weight": n / 3} for n in range(9)]
    save(
        [
            {**row, "moment": datetime(2013, 1, 2, 3, n, tzinfo=UTC), "day": date(2013, 1, 2)}
            for n, row in enumerate(rows)
        ]
    )
    Everything.objects.create(name="empty")
    queryset = Everything.objects.annotate(**{name: EXPRESSIONS[name]})
    strategy = explain.explain(queryset, [Column(name)]).strategy
    check(queryset, [name], strategy)
    check(queryset, ["id", name, "moment", "shouted", "price"], "cursor")


@pytest.mark.parametrize("path", ["details__size", "details__list__0", "details__deep", "customer__name", "pk"])
def test_paths_give_the_cells_of_their_values(path):
    customer = Customer.objects.create(name="Ann")
    sizes = [1, 1.0, "x", None, True, [1, 2.50], {"a": "b"}]
    save([{"details": {"size": size, "list": [size]}} for size in sizes] + [{"details": None}, {"customer": customer}])
    check(Everything.objects.all(), [path], explain.explain(Everything.objects.all(), [Column(path)]).strategy)


def test_values_and_groups_take_the_same_roads():
    save([{"small": n % 3, "price": Decimal(n), "day": date(2013, 1, n % 2 + 1), "flag": n % 2 == 0} for n in range(9)])
    queryset = Everything.objects.values("small", "day", "flag").annotate(n=Count("pk"), sum=Sum("big"))
    declared = resolve.resolve(queryset, list(map(Column, ["n", "day", "sum", "flag"])))
    assert explain.explain(queryset, declared).strategy == fastest()
    typed = list(queryset.order_by("small", "day", "flag", "n", "sum").values_list("n", "day", "sum", "flag"))
    [batch] = querysets.batches(queryset, declared)
    assert cells(declared, batch, UTC) == cells(declared, list(zip(*typed, strict=True)), UTC)


def test_distinct_rows_slices_and_orders_are_kept():
    save([{"small": n % 3, "moment": datetime(2013, 1, 9 - n, tzinfo=UTC)} for n in range(8)])
    queryset = Everything.objects.order_by("moment")
    for rows in (queryset, queryset[2:5], queryset.distinct(), queryset.reverse(), queryset.filter(small=9)):
        names = ["moment", "small"]
        declared = resolve.resolve(rows, list(map(Column, names)))
        expected = list(rows.values_list(*names))
        found = [batch[0] for batch in querysets.batches(rows, declared)]
        typed = [row[0] for row in expected]
        assert [cells(declared[:1], [column], UTC) for column in found] == [cells(declared[:1], [typed], UTC)][
            : len(found)
        ]
        assert bool(found) is bool(typed)


# What only one database does


@needs_sqlite
@pytest.mark.parametrize(
    ("column", "stored"),
    [
        ("moment", ["2013-01-02T03:04:05Z", "2013-01-02 03:04:05+02:00", "2013-01-02", "2013-01-02 03:04", "never"]),
        ("moment", ["2013-01-02T03:04:05", "2013-01-02 03:04:05.1", None, "2013-01-02 03:04:05.123456"]),
        ("day", ["2013-01-02", "2013-1-2", "never", None]),
        ("day", [20130102]),
        ("day", ["2013-01-02\n2013-01-03"]),
        ("clock", ["03:04:05.1", "03:04", None, "later"]),
        ("flag", [1, 0, 2, None]),
        ("weight", [1, 2.5, None, "heavy"]),
        ("small", [1, "many", None, 2.5]),
        ("reference", ["0123456789ABCDEF0123456789ABCDEF", None]),
        ("price", [1, 0.1, 2.675, 1.005, 0.125, -0.001, 123456789.125, 12345678901234.5, 0.285, None]),
        ("share", [0.1, 0.1234567895, 2.5e-10, 1e-9, None]),
        ("took", [1, None, -(10**12)]),
        (
            "details",
            ['{"a":1}', ' {"a": 1} ', '{"a": 1 }', '{ "a": 1}', '{"a": 1.50}', '{"a": -0}'],
        ),
        ("details", ['{"a": 1E2}', "[1e2]", '["\\u00e9"]', "[1,2]", "null", "5", '"x"', '["x\t y"]']),
    ],
)
def test_what_django_would_not_have_stored_is_converted_by_the_orm(column, stored):
    save([{"details": {}}])
    Everything.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        for value in stored:
            cursor.execute(f"INSERT INTO shop_everything (name, {column}) VALUES ('x', %s)", [value])
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    check(Everything.objects.all(), [column], "cursor")
    for value in Everything.objects.all():
        check(Everything.objects.filter(pk=value.pk), [column], "cursor")


@needs_postgres
def test_times_that_python_does_not_have_stay_as_postgresql_writes_them():
    save([{}])
    Everything.objects.update(moment=None)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_everything SET moment = 'infinity', day = '0044-03-15 BC'")
    declared = resolve.resolve(Everything.objects.all(), [Column("moment"), Column("day")])
    [batch] = querysets.batches(Everything.objects.all(), declared)
    assert [list(column) for column in batch] == [["infinity"], ["0044-03-15 BC"]]


@needs_postgres
def test_now_is_a_moment_of_postgresql_too():
    save([{}])
    [batch] = querysets.batches(Everything.objects.all(), [Column("now", source=Now())])
    assert batch[0].family == "utc datetime"

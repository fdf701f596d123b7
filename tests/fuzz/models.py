"""Random models: drawn by Hypothesis, made with their tables and rows, and removed again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from json import JSONDecoder
from types import SimpleNamespace
from typing import Any, NamedTuple

from django.apps.registry import Apps
from django.contrib.postgres import fields as postgres
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange, NumericRange
from django.db.models import Value
from django.db.models.expressions import RawSQL
from hypothesis import strategies as st

from tests.shop.every_field import decimals, json_values, texts, values_of
from tests.shop.models import EveryField

Field = Callable[[], "models.Field[Any, Any]"]


class Colour(Enum):
    RED = "red"
    FORMULA = "=1+1"


class Size(models.IntegerChoices):
    SMALL = 1, "=small"
    LARGE = 2


class Price(Decimal):
    pass


class Place(NamedTuple):
    name: str

    def __str__(self) -> str:
        return f"@{self.name}"


def converted(base: type[models.Field], convert: Callable[[Any], object], **options: Any) -> Field:
    """Return what makes a field whose from_db_value is this function."""

    def from_db_value(self: models.Field, value: Any, *others: Any) -> object:
        return None if value is None else convert(value)

    return lambda: type("Converted", (base,), {"from_db_value": from_db_value})(**options)


def cloned(name: str) -> Field:
    return lambda: EveryField._meta.get_field(name).clone()


EXTREME_DATETIMES = st.sampled_from([datetime.min, datetime.max, datetime(1900, 3, 1), datetime(2013, 10, 27, 1, 30)])
SMALL = st.integers(-999, 999)
MOMENTS = values_of["moment"] | EXTREME_DATETIMES.map(lambda value: value.replace(tzinfo=UTC))
LONG_TEXTS = st.sampled_from(["x" * 32_768, "=" * 70, "é😀" * 40, "a,b\n" * 30])
IS_POSTGRESQL = connection.vendor == "postgresql"
# By name, what makes a field, and its values.
FIELDS: dict[str, tuple[Field, st.SearchStrategy[Any]]] = {
    **{name: (cloned(name), values) for name, values in values_of.items()},
    "text": (cloned("text"), texts | LONG_TEXTS),
    "moment": (cloned("moment"), MOMENTS),
    # SQLite stores NaN as NULL.
    "weight": (cloned("weight"), values_of["weight"].filter(lambda value: IS_POSTGRESQL or value == value)),
    "huge": (lambda: models.DecimalField(max_digits=38, decimal_places=10), decimals(38, 10)),
    "size": (lambda: models.SmallIntegerField(choices=Size.choices), st.sampled_from(Size.values)),
    "colour": (converted(models.TextField, Colour), st.sampled_from([colour.value for colour in Colour])),
    "paid": (converted(models.DecimalField, Price, max_digits=9, decimal_places=2), decimals(9, 2)),
    "words": (converted(models.TextField, lambda text: text.split(",")), texts),
    "place": (converted(models.TextField, Place), texts),
    "span": (converted(models.IntegerField, lambda number: timedelta(hours=number)), SMALL),
    "since": (converted(models.IntegerField, lambda number: date(1901, 1, 1) + timedelta(days=number)), SMALL),
    "decoded": (lambda: models.JSONField(decoder=JSONDecoder), json_values),
    "encoded": (lambda: models.JSONField(encoder=DjangoJSONEncoder), st.lists(MOMENTS | decimals(9, 2), max_size=3)),
}
if IS_POSTGRESQL:
    ranges = st.tuples(MOMENTS, MOMENTS).map(sorted).map(lambda ends: DateTimeTZRange(*ends))
    FIELDS |= {
        "numbers": (
            lambda: postgres.ArrayField(models.IntegerField(null=True)),
            st.lists(SMALL | st.none(), max_size=3),
        ),
        "prices": (
            lambda: postgres.ArrayField(models.DecimalField(max_digits=9, decimal_places=2)),
            st.lists(decimals(9, 2), max_size=3),
        ),
        "names": (lambda: postgres.ArrayField(models.TextField()), st.lists(texts, max_size=3)),
        "moments": (lambda: postgres.ArrayField(models.DateTimeField()), st.lists(MOMENTS, max_size=3)),
        "during": (lambda: postgres.DateTimeRangeField(), ranges),
        "between": (
            lambda: postgres.IntegerRangeField(),
            st.tuples(SMALL, SMALL).map(sorted).map(lambda ends: NumericRange(*ends)),
        ),
    }
    NAN = st.just(Decimal("NaN"))
    FIELDS |= {name: (FIELDS[name][0], FIELDS[name][1] | NAN) for name in ("price", "share")}
KEYS = {
    "number": (models.BigAutoField, st.integers(1, 2**62)),
    "text": (lambda **options: models.CharField(max_length=20, **options), texts.filter(lambda text: len(text) < 20)),
    "uuid": (models.UUIDField, st.uuids()),
}


@dataclass(frozen=True)
class World:
    """What the models are made from: `fields` by name the kind of field, and the rows of all tables.

    Every row of Main has a key, a parent that may be None, an other that may be missing, tags and perhaps a note.
    """

    key: str
    fields: Mapping[str, str]
    nullable: bool
    ordering: Sequence[str]
    other_key: str
    others: Sequence[tuple[Any, str, Decimal | None]]
    rows: Sequence[Mapping[str, Any]]
    repeated: int = 1

    @property
    def keys(self) -> list[Any]:
        return [row["pk"] for row in self.rows]

    @property
    def misses_rows(self) -> bool:
        """True if a foreign key leads nowhere."""
        return not {row["other_id"] for row in self.rows} <= {key for key, *_ in self.others}

    @property
    def base_count(self) -> int:
        return len(self.rows) // self.repeated


@st.composite
def worlds(draw: st.DrawFn) -> World:
    kinds = draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=6, unique=True))
    fields = {draw(st.sampled_from([kind, f"{kind}_0"])): kind for kind in kinds}
    key, other_key = draw(st.sampled_from(sorted(KEYS))), draw(st.sampled_from(sorted(KEYS)))
    nullable = draw(st.booleans())
    ordering = draw(st.sampled_from([(), ("-pk",), (f"-{next(iter(fields))}",), ("parent__name",)]))
    other_keys = draw(st.lists(KEYS[other_key][1], min_size=4, max_size=4, unique=True))
    # The last key is that of a row that is not there.
    others = [(each, draw(texts), draw(decimals(9, 2) | st.none())) for each in other_keys[:-1]]
    values = {name: FIELDS[kind][1] | st.none() if nullable else FIELDS[kind][1] for name, kind in fields.items()}
    a_row = {
        **values,
        "parent_id": st.sampled_from([None, *other_keys[:-1]]),
        "other_id": st.sampled_from(other_keys),
        "tags": st.sets(st.integers(1, 3)),
        "note": st.none() | texts,
    }
    rows = draw(st.lists(st.fixed_dictionaries(a_row), max_size=6))
    # Equal values in more rows than a sample of a column has.
    repeated = draw(st.sampled_from([1, 1, 1, 1, 1, 1, 30]))
    if repeated == 1:
        keys = draw(st.lists(KEYS[key][1], min_size=len(rows), max_size=len(rows), unique=True))
    else:
        rows *= repeated
        key, keys = "number", list(range(1, len(rows) + 1))
    rows = [{**row, "pk": each} for row, each in zip(rows, keys, strict=True)]
    return World(key, fields, nullable, ordering, other_key, others, rows, repeated)


@contextmanager
def tables(world: World) -> Iterator[SimpleNamespace]:
    """Make the models Main, Other, Tag and Note with their tables and rows; inside, they can be queried."""
    made = _models(world)
    # The table that joins Main and Tag is not in this order.
    order = [made.Other, made.Tag, made.Main, made.Note]
    with connection.schema_editor() as editor:
        for model in order:
            editor.create_model(model)
    try:
        _save(world, made)
        yield made
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(order):
                editor.delete_model(model)


def _models(world: World) -> SimpleNamespace:
    apps = Apps(["tests.shop"])

    def model(name: str, ordering: Sequence[str] = (), /, **fields: Any) -> type[models.Model]:
        meta = type("Meta", (), {"apps": apps, "app_label": "shop", "db_table": f"fuzz_{name}", "ordering": ordering})
        return type(name, (models.Model,), {"Meta": meta, "__module__": __name__, **fields})

    def key(kind: str) -> models.Field:
        return KEYS[kind][0](primary_key=True)

    own = {name: FIELDS[kind][0]() for name, kind in world.fields.items()}
    for field in own.values():
        field.null = world.nullable
    cascade = models.CASCADE
    other = model(
        "Other",
        code=key(world.other_key),
        name=models.TextField(),
        amount=models.DecimalField(max_digits=9, decimal_places=2, null=True),
    )
    tag = model("Tag", name=models.TextField(), level=models.IntegerField())
    main = model(
        "Main",
        world.ordering,
        key=key(world.key),
        **own,
        parent=models.ForeignKey(other, cascade, null=True, related_name="+"),
        other=models.ForeignKey(other, cascade, db_constraint=False, related_name="mains"),
        tags=models.ManyToManyField(tag),
    )
    note = model("Note", main=models.OneToOneField(main, cascade), words=models.TextField())
    return SimpleNamespace(apps=apps, Main=main, Other=other, Tag=tag, Note=note)


def _save(world: World, made: SimpleNamespace) -> None:
    main = made.Main
    made.Other.objects.bulk_create(made.Other(code=key, name=name, amount=amount) for key, name, amount in world.others)
    made.Tag.objects.bulk_create(
        made.Tag(id=number, name=name, level=number % 2) for number, name in enumerate(["", "=b", "c"], 1)
    )
    names = [*world.fields, "parent_id", "other_id", "pk"]
    main.objects.bulk_create(main(**{name: stored(world, row, name) for name in names}) for row in world.rows)
    joins = main.tags.through
    joins.objects.bulk_create(joins(main_id=row["pk"], tag_id=tag) for row in world.rows for tag in sorted(row["tags"]))
    made.Note.objects.bulk_create(
        made.Note(main_id=row["pk"], words=row["note"]) for row in world.rows if row["note"] is not None
    )


def stored(world: World, row: Mapping[str, Any], name: str) -> Any:
    """Return a value to save: for some rows None is JSON's null; and NaN, which Django does not save as a decimal."""
    value = row[name]
    if isinstance(value, Decimal) and value.is_nan():
        return RawSQL("'NaN'::numeric", ())
    is_json = world.fields.get(name) in ("details", "decoded")
    return (
        Value(None, models.JSONField()) if is_json and value is None and not (world.nullable and row["tags"]) else value
    )

"""Random querysets and columns, as the code that a project would write, and columns of any Python values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta, timezone
from datetime import UTC
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from exports.tabular.columns import Column
from tests.cell_values import HOSTILE as HOSTILE_CELLS
from tests.fuzz.models import Colour, World, worlds

FILTERS = (
    'filter(tags__level__gte=0)', 'filter(tags__name="c")', 'filter(parent__name__gt="")', "exclude(parent=None)",
    "exclude(tags__level=1)", 'filter(Q(note__words__gt="a") | Q(pk__isnull=False))', "filter(note=None)",
    'filter(Exists(Tag.objects.filter(main=OuterRef("pk"))))', "none()", "filter(pk__in=[])", "distinct()",
    'filter(other__name__gte="")', "filter(other__isnull=False)", 'extra(where=["1 = 1"])', "filter(pk=F('pk'))",
)  # fmt: skip
# What changes how instances are made, but not which.
LOADING = ('select_related("parent")', 'prefetch_related("tags")', 'only("parent")', 'defer("other")', "defer(None)")
ANNOTATIONS = {
    "tag_count": 'Count("tags")', "levels": 'Sum("tags__level")', "average": 'Avg("tags__level")',
    "greatest": 'Max("parent__amount")', "lowered": 'Lower("parent__name")', "fixed": "Value(5)",
    "both": 'Concat("parent__name", Value("=\\r"), "note__words")', "third": 'F("parent__amount") / 3',
    "chosen": 'Case(When(parent=None, then=Value("=x")), default=F("parent__name"))',
    "latest": 'Subquery(Tag.objects.filter(main=OuterRef("pk")).order_by("-pk").values("name")[:1])',
    "has_tags": 'Exists(Tag.objects.filter(main=OuterRef("pk")))', "is_large": "Q(parent__amount__gt=1)",
    "number": 'Window(RowNumber(), order_by="pk")', "each_tag": 'F("tags__name")', "others_name": 'F("other__name")',
    "nothing": "Value(None, output_field=DecimalField())",
}  # fmt: skip
EXPRESSIONS = (
    'F("parent__name")', 'F("other__amount") * 2', 'Concat("parent__name", Value("-5"))', 'Length("note__words")',
    "Value(1)", 'Coalesce("parent__amount", Value(Decimal("1.50")))', 'F("parent__amount") / 3',
    'Exists(Tag.objects.filter(main=OuterRef("pk")))',
)  # fmt: skip
RELATED = (
    "pk", "parent", "parent_id", "parent__name", "parent__amount", "parent__pk", "other", "other__name", "other__code",
    "other__amount", "note", "note__words", "note__main__parent__name",
)  # fmt: skip
NUMBERS = ("small", "big", "positive", "price", "share", "whole", "weight", "huge", "size")
# By kind of field, expressions of one of this kind.
OF_FIELD = {
    **dict.fromkeys(NUMBERS, ("{F} * 2", "{F} / 3", "Cast({F}, TextField())", "Cast({F}, FloatField())")),
    "moment": ('TruncMonth("{name}")', 'TruncDate("{name}")', 'ExtractYear("{name}")', 'F("{name}__hour")'),
    "day": ('TruncMonth("{name}")', 'ExtractWeek("{name}")'),
    **dict.fromkeys(("details", "decoded"), ('F("{name}__a")', 'F("{name}__0")', 'F("{name}__a__b")')),
    "text": ('Upper("{name}")', 'NullIf("{name}", Value(""))', 'Cast("{name}", JSONField())'),
}
OF_FIELD["text"] = OF_FIELD["text"][:2]

# Values of any Python type


Day, Clock, Span, Price = (type(f"My{base.__name__}", (base,), {}) for base in (date, time, timedelta, Decimal))
HOSTILE = HOSTILE_CELLS | st.text(st.sampled_from("_x0041F<>r/&;t") | st.characters(), max_size=12)
VALUES = {
    "text": HOSTILE,
    "integer": st.integers() | st.integers(-(10**13), 10**13),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False, places=3) | st.decimals(),
    "float": st.floats(),
    "boolean": st.booleans(),
    "date": st.dates(),
    "datetime": st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    "time": st.times() | st.times(timezones=st.just(timezone(timedelta(hours=2)))),
    "duration": st.timedeltas(),
    "uuid": st.uuids(),
    "json": st.dictionaries(HOSTILE, st.lists(st.integers()), max_size=3) | st.lists(HOSTILE, max_size=2),
}
# Members of an enum, and instances of classes derived from Python's types, as libraries have them.
OTHERS = st.binary(max_size=5) | st.sampled_from(
    [*Colour, Day(2013, 1, 2), Day(1900, 1, 1), Clock(3, 4), Span(hours=30), Span(-1), Price("1.5"),
     Price("1.234567890123456")]
)  # fmt: skip


@st.composite
def calculated_columns(draw: st.DrawFn, rows: int) -> tuple[str, str, Sequence[Any]]:
    """Draw a kind, a number format, and the values of a column of one kind or of any values."""
    kind = draw(st.sampled_from(list(VALUES)))
    values = VALUES[kind] if draw(st.integers(0, 3)) else st.one_of(*VALUES.values(), OTHERS)
    values = values | st.none() if draw(st.booleans()) else values
    number_format = draw(st.sampled_from(["", "", "0.00"]))
    return (
        draw(st.sampled_from(["", kind, "text"])),
        number_format,
        draw(st.lists(values, min_size=rows, max_size=rows)),
    )


# Querysets


@dataclass(frozen=True)
class Case:
    """A model with rows, the code of a queryset and of its columns, and columns that callables calculate."""

    world: World
    queryset: str
    columns: Sequence[str]
    calculated: Sequence[tuple[str, str, Sequence[Any]]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    world = draw(worlds())
    shape = draw(st.sampled_from(["rows"] * 6 + ["slice", "values", "groups", "union", "union of values"]))
    names = [*world.fields, *RELATED]
    filters = draw(st.lists(st.sampled_from(FILTERS), max_size=2, unique=True))
    rows = ".".join(["Main.objects", *filters, "all()"])
    annotations: list[str] = []
    if "union" not in shape:
        annotations = draw(st.lists(st.sampled_from(sorted(ANNOTATIONS)), max_size=2, unique=True))
        rows += "".join(f".annotate({name}={ANNOTATIONS[name]})" for name in annotations)
    if shape in ("rows", "slice"):
        rows += "".join(f".{each}" for each in draw(st.lists(st.sampled_from(LOADING), max_size=1)))
        # Django drops rows with a missing row when it orders by it, the app does not.
        some = draw(st.sampled_from([*world.fields, "pk", "parent", "parent__name", "other", "note"]))
        orders = [f'"-{some}"', f'F("{some}").desc(nulls_last=True)', 'Lower("parent__name"), "-pk"', ""]
        order = draw(st.sampled_from(orders))
        if shape == "slice" or "each_tag" in annotations:
            order = ", ".join([*filter(None, [order]), '"pk"', *['"each_tag"'] * ("each_tag" in annotations)])
        rows += f".order_by({order})" if order or draw(st.booleans()) else ""
        if shape == "slice":
            rows += f"[{draw(st.integers(0, 2))}:{draw(st.integers(0, 9))}]"
        return Case(world, rows, draw(_columns(world, [*names, *annotations])), draw(_calculated(world)))
    if shape == "union":
        other = draw(st.sampled_from(FILTERS))
        every = draw(st.booleans())
        rows = f'{rows}.union(Main.objects.{other}, all={every}).order_by("pk")'
        return Case(world, rows, draw(_columns(world, names, are_plain=True)), draw(_calculated(world)))
    stored = [name for name in names if name not in ("note",)]
    chosen = draw(st.lists(st.sampled_from([*stored, *annotations]), min_size=1, max_size=4, unique=True))
    values = f".values({', '.join(map(repr, chosen))})"
    rows += values
    if shape == "groups":
        rows += '.annotate(total=Count("pk"), top=Max("parent__amount"))'
        chosen += ["total", "top"]
    elif shape == "union of values":
        rows += f".union(Main.objects.{draw(st.sampled_from(FILTERS))}{values}, all={draw(st.booleans())})"
    elif draw(st.booleans()):
        rows += ".distinct()"
    signs = [draw(st.sampled_from(["", "-"])) for _ in chosen]
    orders = [repr(sign + name) for sign, name in zip(signs, chosen, strict=True)]
    rows += f".order_by({', '.join(orders) if shape == 'union of values' or draw(st.booleans()) else ''})"
    columns = [f"Column({name!r})" for name in draw(st.permutations(chosen))]
    return Case(world, rows, columns[: draw(st.integers(1, len(columns)))], ())


@st.composite
def _columns(draw: st.DrawFn, world: World, names: Sequence[str], are_plain: bool = False) -> list[str]:
    sources = list(EXPRESSIONS)
    for name, kind in world.fields.items():
        sources += [source.format(name=name, F=f'F("{name}")') for source in OF_FIELD.get(kind, ())]
    found = []
    for number in range(draw(st.integers(1, 5))):
        name = draw(st.sampled_from(names))
        options = draw(st.sampled_from(["", "", "", ', kind="text"', ', kind="json"', ', format="0.0"', ", places=4"]))
        if draw(st.booleans()):
            header = draw(HOSTILE)
            options += f", header={header!r}"
        if not are_plain and draw(st.integers(0, 2)) == 0:
            found.append(f"Column('c{number}', source={draw(st.sampled_from(sources))}{options})")
        else:
            found.append(f"Column('{name} {number}', source={name!r}{options})")
    return found


def _calculated(world: World) -> st.SearchStrategy[list[tuple[str, str, Sequence[Any]]]]:
    return st.lists(calculated_columns(world.base_count), min_size=1, max_size=2)

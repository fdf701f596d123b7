"""Random querysets and columns, as the code that a project would write, and columns of any Python values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from exports.tabular.columns import Column
from tests.cell_values import HOSTILE as HOSTILE_CELLS
from tests.cell_values import ZONES
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
    "pk", "parent_id", "parent__name", "parent__amount", "parent__pk", "other_id", "other__name", "other__code",
    "other__amount", "note__pk", "note__words", "note__main__parent__name",
)  # fmt: skip
AGGREGATES = ('Count("tags")', 'Max("tags__name")', 'Sum("tags__level")')
OPTIONS = ("", "", "", ', kind="text"', ', kind="json"', ', format="0.0"', ", places=4", ', formulas="raw"')
NUMBERS = ("small", "big", "positive", "price", "share", "whole", "weight", "huge", "size")
# By kind of field, expressions of one of this kind.
OF_FIELD = {
    **dict.fromkeys(NUMBERS, ("{F} * 2", "{F} / 3", "Cast({F}, TextField())", "Cast({F}, FloatField())")),
    "moment": ('TruncMonth("{name}")', 'TruncDate("{name}")', 'ExtractYear("{name}")', 'F("{name}__hour")'),
    "day": ('TruncMonth("{name}")', 'ExtractWeek("{name}")'),
    **dict.fromkeys(("details", "decoded"), ('F("{name}__a")', 'F("{name}__0")', 'F("{name}__a__b")')),
    "text": ('Upper("{name}")', 'NullIf("{name}", Value(""))'),
}

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
OTHERS = st.binary(max_size=5) | st.sampled_from([
    *Colour, Day(2013, 1, 2), Day(1900, 1, 1), Clock(3, 4), Span(hours=30), Span(-1), Price("1.5"),
    Price("1.234567890123456"),
])  # fmt: skip
# Values of all types within lists and dictionaries.
LEAVES = st.one_of(*VALUES.values(), OTHERS, st.none())
VALUES["json"] |= st.lists(LEAVES | st.lists(LEAVES, max_size=3), min_size=1, max_size=2)
VALUES["json"] |= st.dictionaries(HOSTILE | st.dates() | st.decimals(allow_nan=False), LEAVES, max_size=2)


@dataclass(frozen=True)
class Calculated:
    """A column that a callable calculates: its values in the order of the rows."""

    kind: str
    format: str
    values: Sequence[Any]

    def column(self, number: int, keys: Sequence[Any]) -> Column:
        by_key = dict(zip(keys, self.values * (len(keys) // len(self.values) if self.values else 1), strict=True))
        source = lambda row: by_key[row.pk]  # noqa: E731
        return Column(f"calculated {number}", kind=self.kind, format=self.format, source=source)


@st.composite
def calculated_columns(draw: st.DrawFn, rows: int) -> Calculated:
    """Draw a column of values of one kind, or of any values."""
    kind = draw(st.sampled_from(list(VALUES)))
    values = VALUES[kind] if draw(st.integers(0, 3)) else st.one_of(*VALUES.values(), OTHERS)
    values = values | st.none() if draw(st.booleans()) else values
    declared, number_format = draw(st.sampled_from(["", kind, "text"])), draw(st.sampled_from(["", "", "0.00"]))
    return Calculated(declared, number_format, draw(st.lists(values, min_size=rows, max_size=rows)))


# Querysets


@dataclass(frozen=True)
class Case:
    """A model with rows, the code of a queryset and of its columns, columns that callables calculate, and options."""

    world: World
    queryset: str
    columns: Sequence[str]
    calculated: Sequence[Calculated]
    zone: tzinfo
    csv_options: Mapping[str, Any]
    size: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    world = draw(worlds())
    shapes = {
        "rows": rows,
        "slice": rows,
        "union": unions,
        "values": values,
        "groups": values,
        "union of values": values,
    }
    shape = draw(st.sampled_from(["rows"] * 5 + list(shapes)))
    queryset, columns = draw(shapes[shape](world, shape))
    are_instances = shapes[shape] is not values
    calculated = (
        st.lists(calculated_columns(world.base_count), min_size=1, max_size=2) if are_instances else st.just([])
    )
    csv_options = {
        "delimiter": draw(st.sampled_from(",;\t")),
        "formulas": draw(st.sampled_from(["escape", "escape", "escape", "raw", "reject"])),
        "bom": draw(st.booleans()),
        "profile": draw(st.sampled_from(["exchange", "exchange", "spreadsheet"])),
    }
    if csv_options["profile"] == "spreadsheet":
        csv_options |= {"decimal": ",", "delimiter": ";"}
    size = draw(st.integers(1, 7) | st.just(500))
    return Case(world, queryset, columns, draw(calculated), draw(st.sampled_from(ZONES)), csv_options, size)


@st.composite
def rows(draw: st.DrawFn, world: World, shape: str) -> tuple[str, list[str]]:
    """Draw a queryset of instances, perhaps a slice, and columns."""
    code = filtered(draw)
    code, annotations = annotated(draw, code)
    code += "".join(f".{each}" for each in draw(st.lists(st.sampled_from(LOADING), max_size=1)))
    # Django drops rows whose relation leads nowhere when it orders by what is there, the app does not.
    field = draw(st.sampled_from([*world.fields, "pk", "parent", "parent__name", "other", "note"]))
    orders = ["", f'"-{field}"', f'F("{field}").desc(nulls_last=True)', 'Lower("parent__name"), "-pk"']
    order = draw(st.sampled_from(orders))
    if shape == "slice" or "each_tag" in annotations:
        # Rows that are equal in the order could come in any.
        order = ", ".join([*filter(None, [order]), '"pk"', *['"each_tag"'] * ("each_tag" in annotations)])
    code += f".order_by({order})" if order or draw(st.booleans()) else ""
    if shape == "slice":
        code += f"[{draw(st.integers(0, 2))}:{draw(st.integers(2, 9))}]"
    aggregates = () if shape == "slice" or "tags" in code else AGGREGATES
    return code, draw(columns(world, [*world.fields, *RELATED, *annotations], [*expressions(world), *aggregates]))


@st.composite
def unions(draw: st.DrawFn, world: World, shape: str) -> tuple[str, list[str]]:
    other, every = draw(st.sampled_from(FILTERS)), draw(st.booleans())
    code = f'{filtered(draw)}.union(Main.objects.{other}, all={every}).order_by("pk")'
    return code, draw(columns(world, [*world.fields, *RELATED], ()))


@st.composite
def values(draw: st.DrawFn, world: World, shape: str) -> tuple[str, list[str]]:
    """Draw a queryset of values, perhaps grouped or a union, and columns."""
    code, annotations = filtered(draw), []
    if shape != "union of values":
        code, annotations = annotated(draw, code)
    names = [*world.fields, *(name for name in RELATED if name != "note"), *annotations]
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))
    of_names = f".values({', '.join(map(repr, chosen))})"
    code += of_names
    if shape == "groups":
        code += '.annotate(total=Count("pk"), top=Max("parent__amount"))'
        chosen += ["total", "top"]
    elif shape == "union of values":
        code += f".union(Main.objects.{draw(st.sampled_from(FILTERS))}{of_names}, all={draw(st.booleans())})"
    elif draw(st.booleans()):
        code += ".distinct()"
    if shape == "union of values" or draw(st.booleans()):
        code += f".order_by({', '.join(repr(draw(st.sampled_from(['', '-'])) + name) for name in chosen)})"
    else:
        code += ".order_by()"
    found = [f"Column({name!r})" for name in draw(st.permutations(chosen))]
    return code, found[: draw(st.integers(1, len(found)))]


def filtered(draw: st.DrawFn) -> str:
    return ".".join(["Main.objects", *draw(st.lists(st.sampled_from(FILTERS), max_size=2, unique=True)), "all()"])


def annotated(draw: st.DrawFn, code: str) -> tuple[str, list[str]]:
    names = draw(st.lists(st.sampled_from(sorted(ANNOTATIONS)), max_size=2, unique=True))
    return code + "".join(f".annotate({name}={ANNOTATIONS[name]})" for name in names), names


def expressions(world: World) -> list[str]:
    found = list(EXPRESSIONS)
    for name, kind in world.fields.items():
        found += [source.format(name=name, F=f'F("{name}")') for source in OF_FIELD.get(kind, ())]
    return found


@st.composite
def columns(draw: st.DrawFn, world: World, paths: Sequence[str], sources: Sequence[str]) -> list[str]:
    found = []
    for number in range(draw(st.integers(1, 5))):
        options = draw(st.sampled_from(OPTIONS))
        if draw(st.booleans()):
            options += f", header={draw(HOSTILE)!r}"
        if sources and draw(st.integers(0, 2)) == 0:
            found.append(f"Column('c{number}', source={draw(st.sampled_from(sources))}{options})")
        else:
            path = draw(st.sampled_from(paths))
            if world.fields.get(path) == "size" and draw(st.booleans()):
                options = ", display=True"
            found.append(f"Column('{path} {number}', source={path!r}{options})")
    return found

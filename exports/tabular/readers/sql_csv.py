"""How PostgreSQL is asked for lines of CSV in place of values. docs/read-strategies.md says when."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.plan import COPY, Plan
from exports.tabular.readers.converters import Selected

TEXT, VARCHAR, FLOAT8, JSONB = 25, 1043, 701, 3802

MARKED: Final = "chr(1) || {1}"

# By form, the field of a value {0} whose text is {1}; it begins with MARK where it is no cell yet. NULL and "" are the
# empty field. Cheap functions only, since the server's time is what a file takes: a third of the time of to_char.
RENDER: Final[Mapping[str, str]] = {
    **dict.fromkeys(("integer", "decimal", "date", "uuid"), "{0}"),
    "text": "NULLIF({0}, '')",
    "postgresql boolean": "{0}::text",
    # Python writes 5.0 for 5, and has exponents from other sizes on. NaN is larger than all numbers.
    "postgresql float": (
        "CASE WHEN {0} <> trunc({0}) AND abs({0}) BETWEEN 1e-4 AND 1e15 THEN {1}"
        f" WHEN {{0}} = trunc({{0}}) AND abs({{0}}) < 1e15 THEN {{1}} || '.0' ELSE {MARKED} END"
    ),
    # PostgreSQL leaves out the zeros at the end of a fraction, and the fraction of a whole second.
    "postgresql timestamptz": (
        f"CASE WHEN {{0}} < '0001-01-01 00:00:00+00' OR {{0}} >= '10000-01-01 00:00:00+00' THEN {MARKED}"
        " WHEN length({1}) IN (29, 22) THEN replace({1}, ' ', 'T') || ':00'"
        " ELSE rpad(replace(left({1}, -3), ' ', 'T'), 26, '0') || '+00:00' END"
    ),
    "datetime": (
        f"CASE WHEN {{0}} < '0001-01-01' OR {{0}} >= '10000-01-01' THEN {MARKED}"
        " WHEN length({1}) IN (26, 19) THEN replace({1}, ' ', 'T')"
        " ELSE rpad(replace({1}, ' ', 'T'), 26, '0') END"
    ),
    # Both write lists and objects without fractions alike. They begin with [ and {, the characters 91 and 123.
    "postgresql jsonb": f"CASE WHEN ascii({{1}}) IN (91, 123) AND strpos({{1}}, '.') = 0 THEN {{1}} ELSE {MARKED} END",
}
TYPES: Final[Mapping[str, tuple[int, ...]]] = {
    "text": (TEXT, VARCHAR),
    "postgresql float": (FLOAT8,),
    "postgresql jsonb": (JSONB,),
}


def rendered(plan: Plan, dialect: Dialect) -> Plan:
    """The plan by which PostgreSQL writes lines of CSV; the same plan where Python must."""
    if plan.strategy != COPY or obstacles(plan, dialect):
        return plan
    return replace(plan, sql=_sql(plan), dialect=dialect)


def obstacles(plan: Plan, dialect: Dialect) -> list[str]:
    """Why PostgreSQL cannot write the lines of a plan by COPY, in sentences."""
    if len(plan.columns) == 1:
        return ["An only column has to tell an empty field from no row."]
    chosen = zip(plan.columns, plan.forms, plan.chosen, strict=True)
    reasons = [_obstacle(form, selected, dialect) for _, form, selected in chosen]
    return [
        f"Column {column.name!r}: {reason}." for column, reason in zip(plan.columns, reasons, strict=True) if reason
    ]


def _obstacle(form: str, selected: Selected, dialect: Dialect) -> str:
    if form == "postgresql timestamptz" and str(dialect.zone) != "UTC":
        return f"its moments are shown in {dialect.zone}"
    if form not in RENDER or selected.oid not in TYPES.get(form, (selected.oid,)):
        return "Python writes values of its type in another way"
    return ""


def _sql(plan: Plan) -> str:
    """What is found, then the texts that are used twice, then the fields."""
    values = [f"f{place}" for place in range(plan.width)]
    chosen = [(RENDER[form], place) for place, form in zip(plan.places, plan.forms, strict=True)]
    # A queryset of values() may have a value in two columns.
    texts = dict.fromkeys(f"f{place}::text AS t{place}" for render, place in chosen if "{1}" in render)
    fields = [render.format(f"f{place}", f"t{place}") for render, place in chosen]
    found = f"({plan.sql}) AS found ({', '.join(values)})"
    # Without an OFFSET the two queries would become one, and each text be made anew.
    return f"SELECT {', '.join(fields)} FROM (SELECT {', '.join([*values, *texts])} FROM {found} OFFSET 0) AS texts"


def format_of(dialect: Dialect | None) -> str:
    """The options of COPY."""
    return "" if dialect is None else f" (FORMAT csv, DELIMITER '{dialect.delimiter}', NULL '')"

"""Have PostgreSQL write lines of CSV in place of values. docs/read-strategies.md says when."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from exports.tabular.cells.sql_csv import Dialect
from exports.tabular.plan import COPY, Plan

# RAW_MARK and the text: see cells.sql_csv.
MARKED: Final = "chr(1) || {1}"

# By decoder, the SQL of the field for a value {0} whose text is {1}. The field begins with RAW_MARK where Python has to
# make the cell; NULL and "" are the empty field. Only cheap functions, as the server's time decides how long a file
# takes: these need a third of the time of to_char.
FIELD_SQL: Final[Mapping[str, str]] = {
    **dict.fromkeys(("integer", "decimal", "date", "uuid"), "{0}"),
    "text": "NULLIF({0}, '')",
    "postgresql boolean": "{0}::text",
    # Python writes 5.0 for 5, and uses exponents for other sizes. In PostgreSQL NaN is larger than all numbers.
    "postgresql float": (
        "CASE WHEN {0} <> trunc({0}) AND abs({0}) BETWEEN 1e-4 AND 1e15 THEN {1}"
        f" WHEN {{0}} = trunc({{0}}) AND abs({{0}}) < 1e15 THEN {{1}} || '.0' ELSE {MARKED} END"
    ),
    # PostgreSQL omits trailing zeros of a fraction, and the fraction of a whole second.
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
    # Both write lists and objects without fractions the same way. They begin with [ and {, the characters 91 and 123.
    "postgresql jsonb": f"CASE WHEN ascii({{1}}) IN (91, 123) AND strpos({{1}}, '.') = 0 THEN {{1}} ELSE {MARKED} END",
}
# Where FIELD_SQL is right for some types only, their numbers (OIDs): text and varchar, float8, jsonb.
TYPES: Final[Mapping[str, tuple[int, ...]]] = {
    "text": (25, 1043),
    "postgresql float": (701,),
    "postgresql jsonb": (3802,),
}


def with_dialect(plan: Plan, dialect: Dialect) -> Plan:
    """Return the plan by which PostgreSQL writes lines of CSV, or the same plan where Python must."""
    if plan.strategy != COPY or obstacles(plan, dialect):
        return plan
    values = [f"f{place}" for place in range(plan.width)]
    chosen = [(FIELD_SQL[decoder], place) for decoder, place in zip(plan.decoders, plan.positions, strict=True)]
    # Two columns of a values() queryset may have the same value.
    texts = dict.fromkeys(f"f{place}::text AS t{place}" for field_sql, place in chosen if "{1}" in field_sql)
    fields = [field_sql.format(f"f{place}", f"t{place}") for field_sql, place in chosen]
    found = f"({plan.sql}) AS found ({', '.join(values)})"
    # Without OFFSET, PostgreSQL would merge the two queries and compute each text twice.
    with_texts = f"(SELECT {', '.join([*values, *texts])} FROM {found} OFFSET 0) AS texts"
    return replace(plan, sql=f"SELECT {', '.join(fields)} FROM {with_texts}", dialect=dialect)


def obstacles(plan: Plan, dialect: Dialect) -> list[str]:
    """Say why PostgreSQL cannot write the lines of a plan, in sentences; an empty list if it can."""
    if len(plan.columns) == 1:
        return ["In a single column, an empty field must differ from an empty line."]
    reasons = []
    for column, decoder, selected in zip(plan.columns, plan.decoders, plan.selected_by_column, strict=True):
        if column.display:
            reasons.append(f"Column {column.name!r}: Python has the labels that it displays.")
        elif decoder == "postgresql timestamptz" and str(dialect.zone) != "UTC":
            reasons.append(f"Column {column.name!r}: its times are shown in {dialect.zone}.")
        elif decoder not in FIELD_SQL or selected.oid not in TYPES.get(decoder, (selected.oid,)):
            reasons.append(f"Column {column.name!r}: Python writes values of its type differently.")
    return reasons


def copy_options(dialect: Dialect) -> str:
    """Return the options of COPY."""
    return f" (FORMAT csv, DELIMITER '{dialect.delimiter}', NULL '')"

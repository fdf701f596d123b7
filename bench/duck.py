"""DuckDB's COPY from the same tables, by its extensions for SQLite and PostgreSQL; it uses both cores.

The extensions come as packages, because DuckDB's own way to get them needs its server.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.db import connection

from bench.cases import Case
from bench.peers import arrow_schema, to_json
from bench.rows.models import COLUMNS, TABLE
from bench.values import held

Write = Callable[[], None]


def copy_csv(case: Case, path: Path) -> Write:
    duck = _attached()
    return lambda: duck.execute(f"COPY ({_select()}) TO '{path}' (FORMAT csv, HEADER)") and None


def copy_xlsx(case: Case, path: Path) -> Write:
    duck = _attached()
    _load(duck, "excel")
    return lambda: duck.execute(f"COPY ({_select()}) TO '{path}' (FORMAT xlsx, HEADER true)") and None


def alone(case: Case, path: Path) -> Write:
    """Write from an Arrow table in memory."""
    import duckdb

    duck = duckdb.connect()
    _load(duck, "excel")
    duck.register("held", _arrow_table(case))
    return lambda: duck.execute(f"COPY (SELECT * FROM held) TO '{path}' (FORMAT xlsx, HEADER true)") and None


def _arrow_table(case: Case) -> object:
    import pyarrow

    *columns, attributes, owners = zip(*held(case.with_rows(case.rows_read))(), strict=True)
    columns += [list(map(to_json, attributes)), owners]
    arrays = [pyarrow.array(each, field.type) for each, field in zip(columns, arrow_schema(), strict=True)]
    table = pyarrow.table(arrays, schema=arrow_schema())
    naive = table.set_column(7, "created", table["created"].cast(pyarrow.timestamp("us")))
    return pyarrow.concat_tables([naive] * (case.rows // case.rows_read))


def _attached() -> Any:
    import duckdb

    duck = duckdb.connect()
    _load(duck, "sqlite_scanner" if connection.vendor == "sqlite" else "postgres_scanner")
    settings = connection.settings_dict
    if connection.vendor == "sqlite":
        duck.execute(f"ATTACH '{settings['NAME']}' AS host (TYPE sqlite, READ_ONLY)")
    else:
        names = f"host={settings['HOST']} dbname={settings['NAME']} user={settings['USER']}"
        duck.execute(f"ATTACH '{names}' AS host (TYPE postgres, READ_ONLY)")
    return duck


def _select() -> str:
    names = ", ".join(COLUMNS)
    if connection.vendor == "sqlite":
        # SQLite has no booleans, so DuckDB would write numbers.
        return f"SELECT {names.replace('active', 'active::BOOLEAN AS active')} FROM host.{TABLE} ORDER BY id"
    return f"SELECT {names} FROM host.public.{TABLE} ORDER BY id"


def _load(duck: Any, extension: str) -> None:
    [folder] = find_spec(f"duckdb_extension_{extension}").submodule_search_locations
    [file] = Path(folder).glob(f"extensions/*/{extension}.duckdb_extension")
    duck.execute(f"LOAD '{file}'")

"""The list of all cases that are measured. Every process imports it, so it imports little itself."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Self

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
MEMORY = "memory"
DATABASES = (SQLITE, POSTGRESQL)
FULL = 1_000_000
QUICK = 100_000
SLOW_ROWS = 100_000
HELD_ROWS = 100_000
START_SECONDS = 0.8
REPEATS = 3

OURS = "ours"
USUAL_CSV = "values_list+csv"
USUAL_XLSX = "values_list+xlsxwriter"
CUSTOM_FIELD = "custom field"
CUSTOM_FIELDS = "custom fields"
CALLABLE = "callable"
ALONE = "writing alone"


@dataclass(frozen=True)
class Case:
    """One way to write one file.

    `make` names its function as "module.function" within bench. `variant` is "" for ten plain columns from a database
    to a file, or else names the difference. `cost` is about how many seconds 100,000 rows take, for the estimate only.
    """

    tool: str
    format: str
    database: str
    rows: int
    make: str
    cost: float
    variant: str = ""
    processes: int = 1

    @property
    def name(self) -> str:
        """Return the name that is shown, and that --only is compared with."""
        special = [self.variant] if self.variant else []
        special += [f"{self.processes} processes"] if self.processes > 1 else []
        return " · ".join([self.tool, *special, self.format, self.database, f"{self.rows:,} rows"])

    @property
    def label(self) -> str:
        """Return the tool and the variant, for tables of cases that differ in nothing else."""
        return f"{self.tool}, {self.variant}" if self.variant else self.tool

    @property
    def rows_read(self) -> int:
        """Return the number of rows of the table that the case reads. Cases in memory repeat their rows."""
        return min(self.rows, HELD_ROWS) if self.database == MEMORY else self.rows

    @property
    def source(self) -> str:
        """Return the database that the case reads, before or while it is measured."""
        return SQLITE if self.database == MEMORY else self.database

    @property
    def needs_exports(self) -> bool:
        """Return True if the case runs code of this project."""
        return self.make.startswith("ours.") or self.make == "limits.deflated"

    @property
    def estimate(self) -> float:
        """Return the seconds that one run takes, with the start of the process."""
        return START_SECONDS + self.cost * self.rows / 100_000

    @property
    def limit(self) -> float:
        """Return the seconds after which a run is ended."""
        return 60 + 6 * self.estimate

    def with_rows(self, rows: int) -> Self:
        return replace(self, rows=rows)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def all_cases(rows: int = FULL, slow_rows: int = SLOW_ROWS) -> list[Case]:
    """Return every case: at `rows` rows, the slowest tools at `slow_rows`, and ours at five times `rows` too."""
    cases = [*ours(rows), *peers(rows), *of_python(slow_rows), *slow_peers(slow_rows), *limits(rows)]
    grown = sorted({slow_rows, 5 * rows} - {rows})
    return cases + [case.with_rows(each) for each in grown for case in cases if _grows(case)]


def _grows(case: Case) -> bool:
    is_plain = case.tool == OURS and not case.variant and case.processes == 1
    return is_plain and case.database in DATABASES and case.format in ("csv", "xlsx")


def ours(rows: int) -> Iterator[Case]:
    for database in DATABASES:
        case = partial(Case, OURS, database=database, rows=rows, make="ours.table")
        yield case("csv", cost=0.35)
        yield case("tsv", cost=0.35)
        yield case("jsonl", cost=0.4)
        yield case("parquet", cost=0.4)
        yield case("xlsx", cost=0.7)
        yield case("xlsx", cost=0.4, processes=2)
        yield case("xlsx", cost=1.1, variant=CUSTOM_FIELD)
        yield case("xlsx", cost=0.7, variant="isal", make="ours.with_isal")
        yield case("csv", cost=0.4, variant="as a request", make="ours.as_a_request")
        yield case("xlsx", cost=0.8, variant="as a request", make="ours.as_a_request")
    yield Case(OURS, "xlsx", MEMORY, rows, "ours.alone", 0.6, ALONE)
    yield Case(OURS, "xlsx", MEMORY, rows, "ours.alone", 0.5, ALONE, processes=2)


def peers(rows: int) -> Iterator[Case]:
    for database in DATABASES:
        case = partial(Case, database=database, rows=rows)
        yield case(USUAL_CSV, "csv", make="peers.values_list_csv", cost=1.3)
        yield case("DuckDB COPY", "csv", make="duck.copy_csv", cost=0.2)
        yield case(USUAL_XLSX, "xlsx", make="peers.values_list_xlsxwriter", cost=5.3)
        yield case(USUAL_XLSX, "xlsx", make="peers.values_list_xlsxwriter", cost=5.4, variant=CUSTOM_FIELD)
        yield case("DuckDB COPY", "xlsx", make="duck.copy_xlsx", cost=1.2)
        yield case("values+orjson", "jsonl", make="peers.values_orjson", cost=0.8)
        yield case("values_list+pyarrow", "parquet", make="peers.values_list_pyarrow", cost=0.8)
    yield Case("rustpy-xlsxwriter", "xlsx", SQLITE, rows, "peers.rustpy", 1.7)
    yield Case("psql COPY", "csv", POSTGRESQL, rows, "peers.psql_copy", 0.15)
    yield Case("xlsxwriter", "xlsx", MEMORY, rows, "peers.xlsxwriter_alone", 4.8, ALONE)
    yield Case("rustpy-xlsxwriter", "xlsx", MEMORY, rows, "peers.rustpy_alone", 1.2, ALONE)
    yield Case("DuckDB COPY", "xlsx", MEMORY, rows, "duck.alone", 1.2, ALONE)


def of_python(rows: int) -> Iterator[Case]:
    """Return the cases in which all columns need Python, and those with a method of the model as a column."""
    for database in DATABASES:
        case = partial(Case, format="xlsx", database=database, rows=rows, variant=CUSTOM_FIELDS)
        yield case(OURS, make="ours.table", cost=1.4)
        yield case(USUAL_XLSX, make="peers.values_list_xlsxwriter", cost=6.0)
        case = partial(Case, format="xlsx", database=database, rows=rows, variant=CALLABLE)
        yield case(OURS, make="ours.table", cost=1.5)
        yield case("instances+xlsxwriter", make="peers.values_list_xlsxwriter", cost=5.7)


def slow_peers(rows: int) -> Iterator[Case]:
    case = partial(Case, database=SQLITE, rows=rows)
    yield case("django-import-export", "csv", make="peers.import_export_csv", cost=7.0)
    yield case("django-import-export", "xlsx", make="peers.import_export_xlsx", cost=19.0)
    yield case("pandas", "xlsx", make="peers.pandas", cost=12.0)
    yield case("openpyxl", "xlsx", make="peers.openpyxl", cost=7.0)
    yield case("PyExcelerate", "xlsx", make="peers.pyexcelerate", cost=5.0)
    yield case("polars", "xlsx", make="peers.polars", cost=6.0)
    yield Case("openpyxl", "xlsx", MEMORY, rows, "peers.openpyxl_alone", 6.5, ALONE)


def limits(rows: int) -> Iterator[Case]:
    """Return the cases that no tool can be faster than: only reading, only compressing."""
    for database in DATABASES:
        yield Case("rows fetched, discarded", "none", database, rows, "limits.fetched", 0.15)
    yield Case("COPY, discarded", "none", POSTGRESQL, rows, "limits.copied", 0.15)
    for engine, level, cost in (("isal", 1, 0.1), ("zlib-ng", 4, 0.35), ("zlib", 1, 0.35), ("zlib", 6, 1.0)):
        yield Case(f"deflate, {engine} {level}", "none", MEMORY, rows, "limits.deflated", cost)

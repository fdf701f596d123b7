"""The goals of this project: ratios of measurements of one run, each with a floor and a target."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.cases import (
    ALONE,
    CALLABLE,
    CUSTOM_FIELD,
    CUSTOM_FIELDS,
    DATABASES,
    MEMORY,
    OURS,
    POSTGRESQL,
    SQLITE,
    USUAL_CSV,
    USUAL_XLSX,
)
from bench.measure import Result

IMPORT_EXPORT = "django-import-export"
DATABASE_NAMES = {SQLITE: "SQLite", POSTGRESQL: "PostgreSQL", MEMORY: "memory"}


@dataclass(frozen=True)
class Ratio:
    """A ratio. `measured` is None if the run lacks a result that it needs. With `is_limit`, less is better."""

    what: str
    floor: float
    target: float
    measured: float | None
    unit: str = "x"
    is_limit: bool = False

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        if self._reaches(self.target):
            return "target met"
        return "floor met" if self._reaches(self.floor) else "missed"

    def _reaches(self, mark: float) -> bool:
        return self.measured <= mark if self.is_limit else self.measured >= mark


class Results(list[Result]):
    """The results of a run."""

    def one(
        self, tool: str, format: str, database: str, rows: int, *, variant: str = "", processes: int = 1
    ) -> Result | None:
        """Return the result of this case, or None if it was not measured."""
        wanted = (tool, format, database, rows, variant, processes)
        return next((each for each in self if each.is_measured and wanted == _identity(each)), None)

    def ours(self, format: str, database: str, rows: int, *, variant: str = "", processes: int = 1) -> Result | None:
        return self.one(OURS, format, database, rows, variant=variant, processes=processes)


def _identity(result: Result) -> tuple[object, ...]:
    case = result.case
    return (case.tool, case.format, case.database, case.rows, case.variant, case.processes)


def all_ratios(results: Sequence[Result], *, rows: int, slow_rows: int) -> list[Ratio]:
    """Return all ratios of a run of `rows` rows, in which the slowest tools had `slow_rows`."""
    found = Results(results)
    return [
        *_xlsx(found, rows),
        *_of_python(found, slow_rows),
        *_alone(found, rows),
        *_import_export(found, slow_rows),
        *_csv(found, rows),
        *_others(found, rows),
        *_memory(found, rows),
        *_growth(found, rows),
        *_size(found, rows),
        *_progress(found, rows),
    ]


def _xlsx(found: Results, rows: int) -> Iterator[Ratio]:
    for database in DATABASES:
        name, usual = DATABASE_NAMES[database], found.one(USUAL_XLSX, "xlsx", database, rows)
        ours, both = (found.ours("xlsx", database, rows, processes=each) for each in (1, 2))
        yield Ratio(f"XLSX against {USUAL_XLSX}, {name}", 6, 9, _times_as_fast(ours, usual))
        yield Ratio(f"the same on both cores, {name}", 10, 17, _times_as_fast(both, usual))
        ours = found.ours("xlsx", database, rows, variant=CUSTOM_FIELD)
        usual = found.one(USUAL_XLSX, "xlsx", database, rows, variant=CUSTOM_FIELD)
        yield Ratio(f"the same where a column needs Python values, {name}", 4.5, 6, _times_as_fast(ours, usual))


def _of_python(found: Results, rows: int) -> Iterator[Ratio]:
    for database in DATABASES:
        size = f"{DATABASE_NAMES[database]}, {rows:,} rows"
        ours = found.ours("xlsx", database, rows, variant=CUSTOM_FIELDS)
        usual = found.one(USUAL_XLSX, "xlsx", database, rows, variant=CUSTOM_FIELDS)
        what = f"XLSX where all columns need Python values against {USUAL_XLSX}, {size}"
        yield Ratio(what, 4.5, 6, _times_as_fast(ours, usual))
        ours = found.ours("xlsx", database, rows, variant=CALLABLE)
        usual = found.one("instances+xlsxwriter", "xlsx", database, rows, variant=CALLABLE)
        what = f"XLSX with a method of the model against instances+xlsxwriter, {size}"
        yield Ratio(what, 4.5, 6, _times_as_fast(ours, usual))


def _alone(found: Results, rows: int) -> Iterator[Ratio]:
    streaming = [each for each in found if each.is_measured and each.case.variant == ALONE and each.case.tool != OURS]
    best = max(streaming, key=lambda each: each.rows_per_second, default=None)
    name = f" ({best.case.tool})" if best else ""
    ours = found.ours("xlsx", MEMORY, rows, variant=ALONE)
    yield Ratio(f"XLSX against the best peer that streams{name}, writing alone", 1.5, 2.5, _times_as_fast(ours, best))


def _import_export(found: Results, rows: int) -> Iterator[Ratio]:
    for format in ("xlsx", "csv"):
        ours, peer = found.ours(format, SQLITE, rows), found.one(IMPORT_EXPORT, format, SQLITE, rows)
        yield Ratio(f"{format.upper()} against {IMPORT_EXPORT}, {rows:,} rows", 15, 25, _times_as_fast(ours, peer))


def _csv(found: Results, rows: int) -> Iterator[Ratio]:
    raw = [found.one(tool, format, POSTGRESQL, rows) for tool, format in RAW_COPIES]
    best = max(filter(None, raw), key=lambda each: each.rows_per_second, default=None)
    share = _times_as_fast(found.ours("csv", POSTGRESQL, rows), best)
    yield Ratio("CSV on PostgreSQL, share of the speed of raw COPY", 55, 75, share and 100 * share, "%")
    usual = found.one(USUAL_CSV, "csv", SQLITE, rows)
    ours = found.ours("csv", SQLITE, rows)
    yield Ratio(f"CSV on SQLite against {USUAL_CSV} with the same output", 3, 5, _times_as_fast(ours, usual))


RAW_COPIES = (("COPY, discarded", "none"), ("psql COPY", "csv"))


def _others(found: Results, rows: int) -> Iterator[Ratio]:
    for format, tool, name in (("parquet", "values_list+pyarrow", "Parquet"), ("jsonl", "values+orjson", "JSON Lines")):
        for database in DATABASES:
            ours, usual = found.ours(format, database, rows), found.one(tool, format, database, rows)
            what = f"{name} against the same rows through the ORM, {DATABASE_NAMES[database]}"
            yield Ratio(what, 2, 5, _times_as_fast(ours, usual))


def _memory(found: Results, rows: int) -> Iterator[Ratio]:
    pairs = [
        (found.ours(format, database, rows), found.ours(format, database, 5 * rows))
        for database in DATABASES
        for format in ("csv", "xlsx")
    ]
    peaks = [each.peak_mib for pair in pairs for each in pair if each]
    growths = [grown.peak_mib / small.peak_mib for small, grown in pairs if small and grown]
    sizes = f"{rows:,} and {5 * rows:,} rows"
    yield Ratio(f"peak memory, one process, CSV and XLSX, {sizes}", 100, 70, max(peaks, default=None), " MiB", True)
    yield Ratio(f"its growth between {sizes}", 1.1, 1.1, max(growths, default=None), is_limit=True)


def _growth(found: Results, rows: int) -> Iterator[Ratio]:
    for database in DATABASES:
        small, grown = found.ours("csv", database, rows), found.ours("csv", database, 5 * rows)
        measured = grown.seconds / small.seconds if small and grown else None
        what = f"time of {5 * rows:,} rows over {rows:,}, CSV, {DATABASE_NAMES[database]}"
        yield Ratio(what, 5.5, 5.1, measured, is_limit=True)


def _size(found: Results, rows: int) -> Iterator[Ratio]:
    ours, usual = found.ours("xlsx", SQLITE, rows), found.one(USUAL_XLSX, "xlsx", SQLITE, rows)
    measured = ours.bytes / usual.bytes if ours and usual else None
    yield Ratio("size of the XLSX over xlsxwriter's", 1.25, 1.0, measured, is_limit=True)


def _progress(found: Results, rows: int) -> Iterator[Ratio]:
    runs = [each for each in found if each.is_measured and each.case.variant == "as a request"]
    shares = [100 * each.said("progress_seconds") / each.seconds for each in runs if each.case.rows == rows]
    yield Ratio("cost of lease and progress, share of a request's run", 1, 1, max(shares, default=None), "%", True)


def _times_as_fast(ours: Result | None, peer: Result | None) -> float | None:
    return ours.rows_per_second / peer.rows_per_second if ours and peer else None

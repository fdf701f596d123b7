"""The results as Markdown, and as the list that --json writes."""

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.cases import ALONE, CALLABLE, CUSTOM_FIELD, CUSTOM_FIELDS, USUAL_CSV, USUAL_XLSX, Case
from bench.measure import MIB, Result
from bench.ratios import DATABASE_NAMES, Ratio

USUAL = (USUAL_CSV, USUAL_XLSX, "instances+xlsxwriter", "xlsxwriter", "values+orjson", "values_list+pyarrow")
FORMAT_NAMES = {"csv": "CSV and TSV", "tsv": "CSV and TSV", "xlsx": "XLSX", "jsonl": "JSON Lines", "parquet": "Parquet"}
PYTHON = "XLSX where a column needs Python"
PACKAGES = (
    "Django XlsxWriter psycopg isal zlib-ng orjson pyarrow django-import-export pandas openpyxl PyExcelerate "
    "rustpy-xlsxwriter polars duckdb"
)


def machine() -> str:
    """Describe the machine."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def packages() -> str:
    """Return the versions of all measured packages."""
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES.split())


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def as_list(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return the results for programs. The `tool` includes the variant, such as "ours, callable"."""
    return [_entry(result) for result in results if result.is_measured]


def _entry(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "tool": case.label,
        "database": case.database,
        "format": case.format,
        "processes": case.processes,
        "strategy": result.strategy,
        "rows": case.rows,
        "seconds": round(result.seconds, 4),
        "peak_mib": round(result.peak_mib, 1),
        "bytes": result.bytes,
    }


def ratio_table(ratios: Iterable[Ratio]) -> str:
    rows = [
        (ratio.what, _mark(ratio, ratio.floor), _mark(ratio, ratio.target), _measured(ratio), ratio.verdict)
        for ratio in ratios
    ]
    return _table(("Ratio", "Floor", "Target", "Measured", "Met?"), rows, text_columns=(0, 4))


def _mark(ratio: Ratio, mark: float) -> str:
    return f"{'at most ' if ratio.is_limit else ''}{mark:g}{ratio.unit}"


def _measured(ratio: Ratio) -> str:
    return "" if ratio.measured is None else f"{_short(ratio.measured)}{ratio.unit}"


def _short(number: float) -> str:
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"


def result_tables(results: Sequence[Result]) -> str:
    """Return a table for each group of cases that can be compared, the fastest first."""
    titles = dict.fromkeys(section_of(result.case) for result in results if result.is_measured)
    return "\n\n".join(f"### {title}\n\n{_result_table(title, results)}" for title in titles)


def section_of(case: Case) -> str:
    """Return the title of the table that has the case."""
    if case.format == "none":
        return "Limits: reading alone, deflating alone"
    if case.variant == ALONE:
        return "XLSX, writing alone, from rows in memory"
    if case.variant == "as a request":
        return "The whole run of a request"
    if case.variant in (CUSTOM_FIELD, CUSTOM_FIELDS, CALLABLE):
        return f"{PYTHON}, {DATABASE_NAMES[case.database]}"
    return f"{FORMAT_NAMES[case.format]} from {DATABASE_NAMES[case.database]}"


def _result_table(title: str, results: Sequence[Result]) -> str:
    chosen = [result for result in results if section_of(result.case) == title and result.is_measured]
    chosen.sort(key=lambda result: -result.rows_per_second)
    headers = ("Tool", "Rows", "Seconds", "Rows/s", "Peak MiB", "File MiB", "Against the usual way")
    return _table(headers, [_row(result, chosen) for result in chosen], text_columns=(0,))


def _row(result: Result, others: Sequence[Result]) -> tuple[str, ...]:
    case = result.case
    usual = next((each for each in others if each.case.tool in USUAL and _is_comparable(each.case, case)), None)
    times = f"{_short(result.rows_per_second / usual.rows_per_second)}x" if usual else ""
    return (
        _tool(result),
        f"{case.rows:,}",
        _seconds(result.seconds),
        f"{result.rows_per_second:,.0f}",
        f"{result.peak_mib:.0f}",
        f"{result.bytes / MIB:.1f}" if result.bytes else "",
        times,
    )


def _is_comparable(usual: Case, case: Case) -> bool:
    return usual.variant == case.variant or (usual.variant == "" and case.variant == "isal")


def _tool(result: Result) -> str:
    case, details = result.case, [result.case.label]
    details += [case.format.upper()] if case.format == "tsv" or case.variant == "as a request" else []
    details += [DATABASE_NAMES[case.database]] if case.format == "none" or case.variant == "as a request" else []
    details += [f"{case.processes} processes"] if case.processes > 1 else []
    details += [f"strategy: {result.strategy}"] if result.strategy else []
    return ", ".join(details)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"


def requests(results: Sequence[Result]) -> str:
    """Compare the run of a request with writing the same file at once."""
    rows = [
        _request(result, results) for result in results if result.case.variant == "as a request" and result.is_measured
    ]
    headers = ("Whole run", "Over writing at once", "Lease and progress", "States sent")
    return _table(headers, rows, text_columns=(0,))


def _request(result: Result, results: Sequence[Result]) -> tuple[str, ...]:
    case = result.case
    same = (case.format, case.database, case.rows)
    plain = next(
        (
            each
            for each in results
            if each.is_measured
            and each.case.label == "ours"
            and each.case.processes == 1
            and (each.case.format, each.case.database, each.case.rows) == same
        ),
        None,
    )
    over = f"{100 * (result.seconds / plain.seconds - 1):+.1f} %" if plain else ""
    progress = f"{100 * result.said('progress_seconds') / result.seconds:.2f} %"
    return (
        f"{case.format.upper()} from {DATABASE_NAMES[case.database]}",
        over,
        progress,
        f"{result.said('changes'):.0f}",
    )


def failures(results: Iterable[Result]) -> str:
    lines = [f"- {result.case.name}: {result.failure}" for result in results if result.failure]
    return "\n".join(lines) or "None."


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: Sequence[int]) -> str:
    """Return a Markdown table whose columns are aligned in a terminal too."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    marks = ["-" * width if place in text_columns else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    return "\n".join(_line(cells, widths, text_columns) for cells in (headers, marks, *rows))


def _line(cells: Sequence[str], widths: Sequence[int], text_columns: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if place in text_columns else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"

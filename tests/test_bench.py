"""The benchmark with few rows. Only bench/run itself runs other tools, since it installs their packages."""

import json
import os
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench import cases, check, databases, measure, readback, recipe, report, run
from bench.cases import ALONE, OURS, SQLITE, USUAL_XLSX, Case
from bench.measure import Result, Run
from bench.ratios import Ratio, all_ratios

ROWS = 500
MIB = 1 << 20


def result(tool: str = OURS, format: str = "xlsx", database: str = SQLITE, rows: int = 1_000, **changes: Any) -> Result:
    """A case that took 1, 2 and 9 seconds, unless told otherwise."""
    seconds = changes.pop("seconds", (9.0, 1.0, 2.0))
    run_of = {"peak": 50 * MIB, "bytes": 7_000, "said": {"strategy": "cursor"}} | changes.pop("run", {})
    case = Case(tool, format, database, rows, "ours.table", 0.0, **changes)
    return Result(case, [Run(each, **run_of) for each in seconds])


def failed(tool: str) -> Result:
    found = result(tool, seconds=())
    found.failure = "MemoryError"
    return found


def ratio(results: list[Result], what: str) -> Ratio:
    return next(each for each in all_ratios(results, rows=1_000, slow_rows=100) if each.what.startswith(what))


# The list of cases


# Measuring


def test_a_result_is_the_median_of_its_runs() -> None:
    measured = result(seconds=(9.0, 1.0, 2.0))
    assert (measured.seconds, measured.rows_per_second) == (2.0, 500.0)


def test_the_memory_of_child_processes_counts() -> None:
    fill = "x = bytearray(80 << 20)"
    code = (
        f"import subprocess, sys; {fill}; subprocess.run([sys.executable, '-c', '{fill}; import time; time.sleep(1)'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    exit_code, peak = measure.watch(process, deadline=float("inf"))
    assert exit_code == 0
    assert 160 * MIB < peak < 260 * MIB


# The rows


def test_tables_of_every_size_begin_with_the_same_rows() -> None:
    assert next(recipe.blocks(20)) == next(recipe.blocks(20_000))[:20] == recipe.block(1)[:20]


def test_the_rows_have_formulas_quotes_line_breaks_and_nulls() -> None:
    rows = recipe.block(1)
    notes = [row[2] for row in rows]
    moments = [row[7] for row in rows]
    assert sum(note.startswith("=") for note in notes) == 10
    assert sum(any(character in note for character in ',"\n') and note[0] != "=" for note in notes) == 200
    assert None in {row[9] for row in rows}
    assert moments != sorted(moments)
    assert moments[::100] == sorted(moments[::100])


def test_a_table_is_created_again_only_when_its_recipe_changes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert databases.need_rows(SQLITE, ROWS, None) is False
    monkeypatch.setattr(databases, "recipe", lambda: "another")
    assert databases.need_rows(SQLITE, ROWS, None) is True
    with sqlite3.connect(home / "sqlite" / f"rows_{ROWS}.sqlite3") as connection:
        assert connection.execute("SELECT count(*) FROM bench_row").fetchone() == (ROWS,)
    connection.close()


# Our cases, each in its process


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with 500 rows on SQLite."""
    folder = tmp_path_factory.mktemp("bench")
    os.environ["BENCH_DIR"] = str(folder)
    databases.need_rows(SQLITE, ROWS, None)
    yield folder
    del os.environ["BENCH_DIR"]


OURS_ON_SQLITE = [case for case in cases.all_cases(ROWS, ROWS) if case.tool == OURS and case.source == SQLITE]
OF_OUR_SIZE = [case for case in OURS_ON_SQLITE if case.rows == ROWS]


@pytest.mark.parametrize("case", OF_OUR_SIZE, ids=lambda case: case.name)
def test_each_of_our_cases_runs(case: Case, home: Path) -> None:
    made = measure.run(case, home / f"file.{case.format}", run.environment(case, None))
    assert made.seconds > 0
    assert made.bytes > 1_000
    assert made.peak > 20 * MIB
    if case.variant == "as a request":
        assert 0 < made.said["progress_seconds"] < made.seconds


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_our_files_read_back_equal(format: str, home: Path) -> None:
    case = Case(OURS, format, SQLITE, ROWS, "ours.table", 0.0)
    reading = readback.read_back(case, home, run.environment(case, None))
    assert (reading.is_equal, reading.sentence) == (True, f"{case.name}: all 500 rows equal, cell by cell")


# Reading back

VALUES = (
    1, "Ada", "=1+1", Decimal("1.50"), 0.1, True, date(2019, 1, 1), datetime(2019, 1, 1, 0, 0, 1, 5, UTC), {"size": 1},
    None,
)  # fmt: skip
CELLS = [
    "1", "Ada", "'=1+1", "1.50", "0.1", "true", "2019-01-01", "2019-01-01T00:00:01.000005+00:00", '{"size": 1}', "",
]  # fmt: skip


HEADER = list(check.CSV)


def test_a_row_that_was_read_back_equals_its_values() -> None:
    compared = check.compare([HEADER, CELLS], [VALUES], check.CSV)
    assert compared == {"rows": 1, "expected_rows": 1, "wrong": {}, "first": {}}


def test_different_cells_are_counted_by_column() -> None:
    wrong = ["2", "Bob", "1+1", "1.51", "0.2", "false", "2019-01-02", "2019-01-01T00:00:01+00:00", "{}", "3"]
    compared = check.compare([HEADER, CELLS, wrong], [VALUES, VALUES], check.CSV)
    assert compared["wrong"] == dict.fromkeys(check.CSV, 1)
    assert compared["first"]["name"] == "'Bob' instead of 'Ada'"


@pytest.mark.parametrize(("header", "cells", "wrong"), [
    (HEADER, CELLS[:-1], "cells in a row"), (HEADER, [*CELLS, ""], "cells in a row"), (HEADER, [], "cells in a row"),
    (HEADER[:-1], CELLS, "header"),
])  # fmt: skip
def test_missing_and_additional_cells_and_headers_are_differences(header: list, cells: list, wrong: str) -> None:
    assert check.compare([header, cells], [VALUES], check.CSV)["wrong"] == {wrong: 1}


@pytest.mark.parametrize(("found", "expected"), [([CELLS], []), ([], [VALUES])])
def test_missing_and_additional_rows_are_differences(found: list, expected: list) -> None:
    compared = check.compare([HEADER, *found], expected, check.CSV)
    assert not readback.is_equal(compared)
    assert readback.describe(compared).startswith(f"DIFFERS: {len(found)} rows of {len(expected)}")


# The ratios


@pytest.mark.parametrize(("seconds", "verdict"), [((1.0,), "target met"), ((1.5,), "floor met"), ((3.0,), "missed")])
def test_a_ratio_is_compared_with_its_floor_and_its_target(seconds: tuple[float], verdict: str) -> None:
    usual = result(USUAL_XLSX, seconds=(9.5,))
    found = ratio([result(seconds=seconds), usual], "XLSX against values_list+xlsxwriter, SQLite")
    assert found.measured == pytest.approx(9.5 / seconds[0])
    assert found.verdict == verdict


def test_a_ratio_without_its_cases_is_not_measured() -> None:
    found = ratio([result(), failed(USUAL_XLSX)], "XLSX against values_list+xlsxwriter, SQLite")
    assert (found.measured, found.verdict) == (None, "not measured")


def test_writing_from_memory_is_compared_with_the_fastest_other_tool() -> None:
    ours = result(database="memory", variant=ALONE, seconds=(1.0,))
    slow = result("openpyxl", database="memory", variant=ALONE, rows=100, seconds=(1.0,))
    quick = result("rustpy-xlsxwriter", database="memory", variant=ALONE, seconds=(2.0,))
    found = ratio([ours, slow, quick], "XLSX against the best peer that streams (rustpy-xlsxwriter)")
    assert found.measured == pytest.approx(2.0)


def test_memory_and_growth_are_those_of_the_largest_case() -> None:
    small = result(format="csv", seconds=(1.0,), run={"peak": 60 * MIB})
    grown = result(format="csv", rows=5_000, seconds=(5.2,), run={"peak": 90 * MIB})
    peak, growth, seconds = (
        ratio([small, grown], what)
        for what in ("peak memory", "its growth", "time of 5,000 rows over 1,000, CSV, SQLite")
    )
    assert (peak.measured, peak.verdict) == (90.0, "floor met")
    assert (growth.measured, growth.verdict) == (1.5, "missed")
    assert (seconds.measured, seconds.verdict) == (pytest.approx(5.2), "floor met")


def test_the_cost_of_progress_is_the_largest_of_all_formats() -> None:
    cheap, dear = (
        result(variant="as a request", format=format, seconds=(2.0,), run={"said": {"progress_seconds": seconds}})
        for format, seconds in (("csv", 0.001), ("xlsx", 0.01))
    )
    assert ratio([cheap, dear], "cost of lease and progress").measured == pytest.approx(0.5)


# What comes out


def test_the_json_list_has_an_entry_for_each_measured_case() -> None:
    entries = report.as_list([result(processes=2), result(variant="callable"), failed("pandas")])
    assert entries[0] == {
        "tool": "ours", "database": "sqlite", "format": "xlsx", "processes": 2, "strategy": "cursor", "rows": 1_000,
        "seconds": 2.0, "peak_mib": 50.0, "bytes": 7_000,
    }  # fmt: skip
    assert [entry["tool"] for entry in entries] == ["ours", "ours, callable"]


def summary(results: list[Result]) -> dict[str, Any]:
    return {
        "rows": 1_000, "slow_rows": 100, "machine": "a machine", "load": 0.0, "packages": "packages", "seconds": 61.0,
        "readback": ["ours: all equal"], "peers": [], "results": [each.as_dict() for each in results],
    }  # fmt: skip


def test_the_documentation_gets_the_results_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n")
    results = [result(seconds=(1.0,)), result(USUAL_XLSX, seconds=(10.0,)), failed("pandas")]
    run.write_docs(summary(results), tmp_path)
    text = page.read_text()
    assert (text[:7], text[-7:], "old" in text) == ("before\n", "\nafter\n", False)
    failure = "- pandas · xlsx · sqlite · 1,000 rows: MemoryError"
    for part in (
        "| ours, strategy: cursor ",
        "10x |",
        failure,
        "- ours: all equal",
        "### The ratios",
        "(performance.svg)",
    ):
        assert part in text
    assert ET.parse(tmp_path / "performance.svg").getroot().get("role") == "img"


def test_the_documentation_has_markers_for_the_results() -> None:
    text = (run.DOCS / "performance.md").read_text()
    assert text.index(run.BEGIN) < text.index(run.END)


# Pages and sweeps


@pytest.mark.servers
def test_the_history_is_measured_with_few_queries_a_page(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "bench.history", "--rows", "6000", "--json", str(found)]
    subprocess.run(command, check=True, cwd=databases.ROOT)
    measured = json.loads(found.read_text())
    queries = {each["what"]: each["queries"] for each in measured}
    assert len(queries) == len(measured) > 15
    assert all(number <= 6 for what, number in queries.items() if "search" not in what and "sweep" not in what), queries
    assert queries["admin, search for a label"] <= 8

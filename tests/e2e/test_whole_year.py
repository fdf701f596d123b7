"""An export of all 336,776 flights, from the click to the cells of the file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.e2e.flights import (
    FLIGHTS,
    as_sheet,
    as_text,
    assert_same_rows,
    flights,
    rows_by_calamine,
    rows_by_csv,
    rows_by_openpyxl,
)
from tests.e2e.memory import peak_of
from tests.e2e.stack import Stack
from tests.e2e.visits import FINISH, Entry, assert_ended_well, moves, seconds_running, visiting

MAX_MIB = 150
PHASES = ("Waiting", "Counting", "Writing", "Finishing", "Storing", "Ready")

pytestmark = pytest.mark.parametrize(
    ("stack", "journey"),
    [
        ("sqlite", "xlsx"),
        ("sqlite", "csv"),
        pytest.param("postgres", "csv", marks=pytest.mark.slow),
    ],
    indirect=True,
)


@dataclass(frozen=True)
class Journey:
    """An export of the whole year: what the page showed, the last state, and the downloaded file."""

    entries: list[Entry]
    state: dict[str, Any]
    path: Path
    peak_mib: float


@pytest.fixture(scope="module")
def journey(request: pytest.FixtureRequest, stack: Stack, browser: Browser, tmp_path_factory: Any) -> Journey:
    worker = stack.processes["large"].pid
    with visiting(stack, browser) as visit, peak_of(worker) as peak:
        with visit.go().page.expect_download(timeout=FINISH) as download:
            export_id = visit.export(request.param)
        path = tmp_path_factory.mktemp("downloads") / download.value.suggested_filename
        download.value.save_as(path)
        visit.wait_for_ready(export_id)
        assert_ended_well(visit, export_id)
        return Journey(visit.entries(export_id), visit.state(export_id), path, peak.mib)


def test_the_downloaded_file_is_complete_and_has_its_name(stack, journey):
    content = journey.path.read_bytes()
    assert journey.path.name == journey.state["file"]["name"]
    assert len(content) == journey.state["file"]["size"]
    assert hashlib.sha256(content).hexdigest() == journey.state["file"]["sha256"]


def test_the_receipt_counts_every_row_and_no_alteration(stack, journey):
    receipt = journey.state["receipt"]
    assert receipt["rows_asked"] == receipt["rows"] == FLIGHTS
    assert receipt["alterations"] == {}
    assert receipt["time_zone"] == "America/New_York"


def test_the_bar_moves_often_enough(stack, journey):
    assert moves(journey.entries) >= min(10, 3 * seconds_running(journey.entries))


def test_the_page_shows_rows_and_the_phases_in_order(stack, journey):
    texts = [entry.text for entry in journey.entries]
    assert any(text.endswith("of 336,776") for text in texts)
    order = [phase for phase in PHASES if any(text.startswith(phase) for text in texts)]
    firsts = [next(place for place, text in enumerate(texts) if text.startswith(phase)) for phase in order]
    assert firsts == sorted(firsts)
    assert {"Writing", "Ready"} <= set(order)


def test_the_worker_needs_little_memory(stack, journey, capsys):
    with capsys.disabled():
        print(f"\n{journey.path.name}: the worker took {journey.peak_mib:.0f} MiB at most")
    assert 0 < journey.peak_mib < MAX_MIB


def test_every_cell_has_the_value_of_the_database(stack, journey):
    read, shown = (rows_by_csv, as_text) if journey.path.suffix == ".csv" else (rows_by_calamine, as_sheet)
    assert_same_rows(read(journey.path), map(shown, flights(stack)))


@pytest.mark.slow
def test_openpyxl_reads_the_same_values(stack, journey):
    if journey.path.suffix == ".xlsx":
        assert_same_rows(rows_by_openpyxl(journey.path), map(as_sheet, flights(stack)))

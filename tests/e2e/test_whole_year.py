"""The main job, for real: all 336,776 flights, from the click to the cells of the file."""

import hashlib
import os
from dataclasses import dataclass
from itertools import islice
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
from tests.e2e.stack import ROOT, Stack
from tests.e2e.visits import FINISH, Entry, Visit, assert_whole_life, moves, seconds_running, visiting

# Set to save the picture of the README.
PICTURE = "SAVE_LIVE_PICTURE"
MOST_MIB = 150
SAMPLE = 5000

pytestmark = pytest.mark.parametrize(
    ("stack", "journey"),
    [
        ("sqlite", "xlsx"),
        ("sqlite", "csv"),
        pytest.param("postgres", "csv", marks=pytest.mark.slow),
        pytest.param("postgres", "xlsx", marks=pytest.mark.slow),
    ],
    indirect=True,
)


@dataclass(frozen=True)
class Journey:
    """One whole year as somebody at the page had it: what they saw, and the file in their downloads folder."""

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
            take_picture(visit, export_id)
        path = tmp_path_factory.mktemp("downloads") / download.value.suggested_filename
        download.value.save_as(path)
        visit.wait_for_ready(export_id)
        assert_whole_life(visit, export_id)
        return Journey(visit.entries(export_id), visit.state(export_id), path, peak.mib)


def take_picture(visit: Visit, export_id: str) -> None:
    if os.environ.get(PICTURE) and visit.part(export_id, "format").inner_text() == "XLSX":
        visit.wait_for_bar(export_id, 0.6)
        visit.page.set_viewport_size({"width": 1000, "height": 760})
        visit.page.screenshot(path=ROOT / "docs" / "live.png")


def test_the_file_is_in_the_downloads_folder_whole_and_under_its_name(stack, journey):
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


def test_the_page_tells_rows_and_the_phases_in_their_order(stack, journey):
    texts = [entry.text for entry in journey.entries]
    assert any(text.endswith("of 336,776") for text in texts)
    order = [phase for phase in PHASES if any(text.startswith(phase) for text in texts)]
    firsts = [next(place for place, text in enumerate(texts) if text.startswith(phase)) for phase in order]
    assert firsts == sorted(firsts)
    assert {"Writing", "Ready"} <= set(order)


PHASES = ("Waiting", "Counting", "Writing", "Finishing", "Storing", "Ready")


def test_the_worker_stays_small(stack, journey, capsys):
    with capsys.disabled():
        print(f"\n{journey.path.name}: the worker took {journey.peak_mib:.0f} MiB at most")
    assert 0 < journey.peak_mib < MOST_MIB


def test_every_cell_is_that_of_the_table(stack, journey):
    read, shown = (rows_by_csv, as_text) if journey.path.suffix == ".csv" else (rows_by_calamine, as_sheet)
    assert_same_rows(read(journey.path), map(shown, flights(stack)))


def test_openpyxl_reads_the_same_for_a_while(stack, journey):
    if journey.path.suffix == ".xlsx":
        pairs = zip(rows_by_openpyxl(journey.path), map(as_sheet, flights(stack)), strict=True)
        assert all(list(given) == list(wanted) for given, wanted in islice(pairs, SAMPLE))


@pytest.mark.slow
def test_openpyxl_reads_the_same_to_the_end(stack, journey):
    if journey.path.suffix == ".xlsx":
        assert_same_rows(rows_by_openpyxl(journey.path), map(as_sheet, flights(stack)))

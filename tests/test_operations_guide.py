"""docs/operations.md: everything that may be seen there has its meaning, and what may be wrong has its cure."""

import re
from pathlib import Path

import pytest

from exports.contrib.operations import doctor, metrics
from exports.state import ERROR_MESSAGES

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
TEXT = GUIDE.read_text()
# What its reader mends, by another filter or another format: docs/protocol.md.
READERS = {"formula_rejected", "too_many_columns", "duplicate_column", "unfit_value", "too_many_rows", "too_many_bytes"}


def first_cells(heading: str) -> str:
    """The first column of the tables below a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("|"))


@pytest.mark.parametrize("name", sorted({probe.name for probe in doctor.PROBES}))
def test_each_line_of_the_doctor_is_explained(name: str):
    words = first_cells("The doctor")
    assert f"`{name}`" in words or f"`{name.split()[0]} LANE`" in words


@pytest.mark.django_db
def test_each_metric_is_explained():
    named = {family.name for family in metrics.ExportsCollector().collect()}
    assert len(named) > 10
    assert sorted(name for name in named if f"`{name}`" not in first_cells("Metrics")) == []


@pytest.mark.parametrize("alarm", re.findall(r"alert: Exports(\w+),", TEXT))
def test_each_alarm_says_what_to_do(alarm: str):
    words = re.sub(r"(?<!^)([A-Z])", r" \1", alarm).lower()
    assert re.search(rf"(^|, |\s){words}(,|\s)", first_cells("Alarms"), re.MULTILINE)


@pytest.mark.parametrize("code", sorted(ERROR_MESSAGES.keys() - READERS))
def test_each_code_that_is_not_its_readers_to_mend_says_what_to_do(code: str):
    assert f"`{code}`" in first_cells("Alarms")

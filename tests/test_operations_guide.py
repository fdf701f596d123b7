"""docs/operations.md explains each line of the doctor, alarm and error code, docs/metrics.md each metric."""

import re
from pathlib import Path

import pytest

from exports.contrib.operations import doctor, metrics
from exports.state import ERROR_MESSAGES
from tests.e2e import outages

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = (DOCS / "operations.md").read_text()
# Users resolve these, by another filter or format: docs/protocol.md.
OF_USERS = {
    "formula_rejected",
    "too_many_columns",
    "duplicate_column",
    "unfit_value",
    "too_many_rows",
    "too_many_bytes",
}


def first_cells(heading: str) -> str:
    """Return the first column of the tables below a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("|"))


def test_the_table_of_outages_is_the_one_that_tests_cause():
    assert outages.table() in TEXT


@pytest.mark.parametrize("name", sorted({probe.name for probe in doctor.PROBES}))
def test_each_line_of_the_doctor_is_explained(name: str):
    lines = first_cells("Find out what is wrong")
    assert f"`{name}`" in lines or f"`{name} QUEUE`" in lines


@pytest.mark.django_db
def test_each_metric_is_explained():
    names = {family.name for family in metrics.ExportsCollector().collect()}
    assert len(names) > 10
    page = (DOCS / "metrics.md").read_text()
    assert sorted(name for name in names if f"`{name}`" not in page) == []


@pytest.mark.parametrize("alarm", re.findall(r"alert: Exports(\w+),", TEXT))
def test_each_alarm_is_explained(alarm: str):
    words = re.sub(r"(?<!^)([A-Z])", r" \1", alarm).lower()
    assert re.search(rf"(^|, |\s){words}(,|\s)", first_cells("Alarms"), re.MULTILINE)


@pytest.mark.parametrize("code", sorted(ERROR_MESSAGES.keys() - OF_USERS))
def test_each_error_code_that_users_cannot_resolve_is_explained(code: str):
    assert f"`{code}`" in first_cells("Alarms")

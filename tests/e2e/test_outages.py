"""Each row of the table of outages in docs/operations.md: what the page shows, what the doctor says, how it heals."""

import json
import subprocess
import sys

import pytest

from tests.e2e.outages import GOES_ON, OUTAGES, Outage, database_down
from tests.e2e.stack import ROOT, Stack
from tests.e2e.visits import Visit

OF_DATABASE = [outage for outage in OUTAGES if outage.strike is database_down]
OF_OTHERS = [outage for outage in OUTAGES if outage.strike is not database_down]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("slowly")]


def examine(stack: Stack) -> set[tuple[str, str, str]]:
    """Return the name, the level and the text of each line of the doctor."""
    command = [sys.executable, "manage.py", "exports", "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=stack.processes["web"].environment, capture_output=True, text=True)
    return {(each["name"], each["level"], each["text"]) for each in json.loads(done.stdout)["findings"]}


def check(stack: Stack, visit: Visit, outage: Outage) -> None:
    export_id = visit.export()
    visit.wait_for_bar(export_id, 0.05)
    with outage.strike(stack, visit):
        for text in outage.shown:
            visit.card(export_id).get_by_text(text).first.wait_for()
        if outage.page.startswith(GOES_ON):
            bar = visit.part(export_id, "bar").element_handle()
            more = min(visit.entries(export_id)[-1].value + 0.05, 1)
            visit.page.wait_for_function("([bar, value]) => bar.value >= value", arg=[bar, more])
        findings = examine(stack)
    # A busy machine answers the doctor late.
    errors = {each for each in findings if each[1] == "error" and each[2] != "No answer in time."}
    if outage.found is None:
        assert errors == set()
    else:
        name, level, part = outage.found
        assert [text for each, its_level, text in findings if (each, its_level) == (name, level) and part in text], (
            errors
        )
    visit.wait_for_ready(export_id)


@pytest.mark.parametrize("outage", OF_OTHERS, ids=lambda outage: outage.away)
def test_the_page_and_the_doctor_say_what_the_table_says(stack: Stack, visit: Visit, outage: Outage):
    check(stack, visit, outage)


@pytest.mark.parametrize("stack", ["postgres"], indirect=True)
@pytest.mark.parametrize("outage", OF_DATABASE, ids=lambda outage: outage.away)
def test_without_a_database_the_page_and_the_doctor_say_what_the_table_says(stack: Stack, visit: Visit, outage: Outage):
    check(stack, visit, outage)

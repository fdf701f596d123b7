"""The figures of docs/capacity.md add up, and those that other pages have are the same there."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "capacity.md").read_text()
CALCULATIONS = re.findall(r"`([\d. */]+) = ([\d.]+)`", PAGE)
STEPS = [
    [float(cell.replace(",", "")) for cell in line.strip("|").split("|")[1:]]
    for line in PAGE.split("## Plan for growth")[1].splitlines()
    if re.fullmatch(r"\| [^|]+(\| [\d.,]+ ){4}\|", line)
]


@pytest.mark.parametrize(("calculation", "result"), CALCULATIONS)
def test_each_calculation_has_its_result(calculation: str, result: str) -> None:
    value = 1.0
    for operator, number in re.findall(r"([*/]?) ?([\d.]+)", calculation):
        value = value / float(number) if operator == "/" else value * float(number)
    decimals = len(result.partition(".")[2])
    assert round(value, decimals) == float(result)


def test_each_step_of_the_plan_is_ten_times_the_one_before() -> None:
    assert (len(CALCULATIONS), len(STEPS)) == (20, 11)
    for steps in STEPS:
        for smaller, larger in pairwise(steps):
            assert larger / smaller == pytest.approx(10, rel=0.2), steps


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("388,861 |       66 ", "388,861 rows a second, 66 MiB"),
        ("134,067 |       73 ", "134,067 rows a second, 73 MiB"),
        ("92.6 |", "92.6 MiB"),
        ("44 KiB a socket, 186 and", "| connects | 186 a second |"),
        ("| Ours, statements prepared | 20,000 | 2.0 | 1.3 |", "| a claim and its end | 1.3 ms of CPU |"),
    ],
)
def test_a_figure_is_the_same_on_the_page_about_performance(there: str, here: str) -> None:
    assert there in (DOCS / "performance.md").read_text()
    assert here in PAGE

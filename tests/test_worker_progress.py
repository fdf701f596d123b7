"""Progress: counters that never go back, and the one fraction that the bar shows."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.models.progress import (
    COUNTING,
    DONE,
    FINISHING,
    PHASES,
    QUEUED,
    STORING,
    WRITING,
    Snapshot,
    eta,
    fraction,
    rate,
)
from exports.worker.progress import Progress

counts = st.integers(0, 10**7)
totals = st.none() | st.integers(0, 10**7)
shares = st.sampled_from([0.0, 0.2, 0.5, 0.9])

Step = Callable[[Progress], None]

steps: st.SearchStrategy[Step] = st.one_of(
    totals.map(lambda total: lambda progress: progress.writing(total)),
    totals.map(lambda total: lambda progress: progress.writing(total, is_estimate=True)),
    counts.map(lambda rows: lambda progress: progress.rows(rows)),
    st.tuples(counts, totals).map(lambda both: lambda progress: progress.report_bytes(FINISHING, *both)),
    st.tuples(counts, totals).map(lambda both: lambda progress: progress.report_bytes(STORING, *both)),
)


def snapshots(taken: Sequence[Step]) -> list[Snapshot]:
    progress = Progress()
    seen = [progress.now]
    for step in taken:
        step(progress)
        seen.append(progress.now)
    return seen


@given(st.lists(steps, max_size=30), shares)
def test_the_fraction_never_falls_and_never_reaches_one_in_a_run(taken: list[Step], share: float) -> None:
    fractions = [fraction(now, finishing_share=share) for now in snapshots(taken)]

    known = [each for each in fractions if each is not None]
    assert known == sorted(known)
    assert all(0.0 <= each < 1.0 for each in known)


@given(st.lists(steps, max_size=30))
def test_phases_and_counters_never_go_back(taken: list[Step]) -> None:
    for before, now in pairwise(snapshots(taken)):
        assert PHASES.index(now.phase) >= PHASES.index(before.phase)
        assert now.rows_done >= before.rows_done
        assert now.phase != before.phase or now.bytes_done >= before.bytes_done


@pytest.mark.parametrize(
    ("now", "finishing_share", "expected"),
    [
        (Snapshot(QUEUED), 0.2, 0.0),
        (Snapshot(COUNTING), 0.2, 0.0),
        (Snapshot(WRITING, 0, 0), 0.0, 0.01),
        (Snapshot(WRITING, 5, None), 0.2, None),
        (Snapshot(WRITING, 5, 10), 0.0, 0.485),
        (Snapshot(WRITING, 5, 10), 0.2, 0.385),
        (Snapshot(STORING, 9, 9, 5, 5), 0.2, 0.999),
        (Snapshot(STORING, 9, 9, 5, 5, rows_estimated=True), 0.0, 0.99),
        (Snapshot(DONE), 0.2, 1.0),
    ],
)
def test_the_fraction_of_each_phase(now: Snapshot, finishing_share: float, expected: float | None) -> None:
    assert fraction(now, finishing_share=finishing_share) == expected


def test_an_estimate_is_dropped_once_the_rows_pass_it() -> None:
    progress = Progress()
    progress.writing(10, is_estimate=True)
    progress.rows(10)
    assert (progress.now.rows_total, progress.now.rows_estimated) == (10, True)
    progress.rows(11)
    assert (progress.now.rows_done, progress.now.rows_total, progress.now.rows_estimated) == (11, None, False)
    assert fraction(progress.now, finishing_share=0.0) is None
    assert eta(progress.now, 5.0) is None


def test_an_unknown_total_is_not_an_estimate() -> None:
    progress = Progress()
    progress.writing(None, is_estimate=True)
    assert (progress.now.rows_total, progress.now.rows_estimated) == (None, False)


def test_each_phase_begins_where_the_previous_one_ends() -> None:
    ends = [
        (Snapshot(WRITING, 10, 10), Snapshot(FINISHING, 10, 10, 0, None)),
        (Snapshot(FINISHING, 10, 10, 7, 7), Snapshot(STORING, 10, 10, 0, 7)),
    ]
    for end, start in ends:
        assert fraction(end, finishing_share=0.2) == fraction(start, finishing_share=0.2)


@pytest.mark.parametrize("phase", [WRITING, FINISHING, STORING])
def test_more_rows_or_bytes_than_expected_do_not_exceed_the_phase(phase: str) -> None:
    assert fraction(Snapshot(phase, 30, 10, 30, 10), finishing_share=0.2) == fraction(
        Snapshot(phase, 10, 10, 10, 10), finishing_share=0.2
    )


def test_the_speed_needs_rows_and_time() -> None:
    assert rate(0, 5.0) is None
    assert rate(10, 0.0) is None
    assert rate(100, 8.0) == 12.5


def test_the_time_left_needs_a_total_and_a_speed() -> None:
    assert eta(Snapshot(WRITING, 40, 100), 20.0) == 3.0
    assert eta(Snapshot(WRITING, 100, 90), 20.0) == 0.0
    assert eta(Snapshot(WRITING, 40, None), 20.0) is None
    assert eta(Snapshot(WRITING, 40, 100), None) is None
    assert eta(Snapshot(FINISHING, 100, 100), 20.0) is None

"""Short turns of threads while a deflate works beside, and what was before when it is over."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest

from exports.tabular.columns import Column
from exports.tabular.writers import XlsxWriter
from exports.tabular.writers.xlsx import switch_interval


@pytest.fixture(autouse=True)
def usual() -> Iterator[float]:
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


@contextmanager
def short_turns() -> Iterator[None]:
    switch_interval.shorten()
    try:
        yield
    finally:
        switch_interval.restore()


def interval() -> float:
    return pytest.approx(sys.getswitchinterval())


def test_turns_are_short_until_the_last_one_is_done(usual: float):
    with short_turns():
        with short_turns():
            assert interval() == switch_interval.SHORT_SECONDS
        assert interval() == switch_interval.SHORT_SECONDS
    assert usual == interval()


def test_a_shorter_interval_of_the_host_is_kept():
    sys.setswitchinterval(switch_interval.SHORT_SECONDS / 2)
    with short_turns():
        assert interval() == switch_interval.SHORT_SECONDS / 2
    assert interval() == switch_interval.SHORT_SECONDS / 2


def test_an_interval_that_somebody_set_meanwhile_is_kept():
    with short_turns():
        sys.setswitchinterval(0.02)
    assert interval() == 0.02


def test_a_workbook_takes_short_turns_and_gives_them_back(usual: float):
    with XlsxWriter(BytesIO(), [Column("a")]) as writer:
        assert interval() == switch_interval.SHORT_SECONDS
        writer.write([["x"]])
    assert usual == interval()


def test_a_workbook_that_is_given_up_gives_them_back_too(usual: float):
    def given_up() -> None:
        with XlsxWriter(BytesIO(), [Column("a")]) as writer:
            writer.write([["x"]])
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        given_up()
    assert usual == interval()

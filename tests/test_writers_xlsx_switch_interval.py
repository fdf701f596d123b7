"""The switch interval of threads is short while a workbook is compressed, and then what it was before."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO

import pytest

from exports.tabular.columns import Column
from exports.tabular.writers import XlsxWriter
from exports.tabular.writers.xlsx import switch_interval
from exports.tabular.writers.xlsx.switch_interval import SHORT_SECONDS


@pytest.fixture(autouse=True)
def usual() -> Iterator[float]:
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


@contextmanager
def shortened() -> Iterator[None]:
    switch_interval.shorten()
    try:
        yield
    finally:
        switch_interval.restore()


def interval() -> float:
    return pytest.approx(sys.getswitchinterval())


def test_the_interval_is_short_until_its_last_user_ends(usual: float):
    with shortened():
        with shortened():
            assert interval() == SHORT_SECONDS
        assert interval() == SHORT_SECONDS
    assert usual == interval()


def test_an_interval_that_is_shorter_already_is_kept():
    sys.setswitchinterval(SHORT_SECONDS / 2)
    with shortened():
        assert interval() == SHORT_SECONDS / 2
    assert interval() == SHORT_SECONDS / 2


def test_an_interval_that_was_changed_meanwhile_is_kept():
    with shortened():
        sys.setswitchinterval(0.02)
    assert interval() == 0.02


@pytest.mark.parametrize("error", [None, OSError("no room")])
def test_a_workbook_shortens_the_interval_and_restores_it_after_success_and_error(error, usual: float):
    with suppress(OSError), XlsxWriter(BytesIO(), [Column("a")]) as writer:
        assert interval() == SHORT_SECONDS
        writer.write([["x"]])
        if error:
            raise error
    assert usual == interval()

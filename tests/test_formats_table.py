"""The table in docs/formats.md says what spreadsheets show."""

import pytest

from tests import formats_table

pytestmark = pytest.mark.slow


def test_the_table_of_the_formats_is_what_spreadsheets_show():
    made = formats_table.table()
    assert made == formats_table.documented(), "docs/formats.md differs. Write it: python -m tests.formats_table"

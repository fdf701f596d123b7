"""The table of docs/compatibility.md is the one that the tests write."""

from tests.compatibility import PAGE, VARIATIONS, page, shown_by


def test_the_page_has_each_variation_that_tests_show_and_no_other():
    assert set(shown_by()) == set(VARIATIONS)
    assert PAGE.read_text() == page()

"""Whatever is interrupted in the middle of an export, the page ends right."""

from tests.e2e.visits import Visit, assert_whole_life


def test_a_click_leads_to_a_bar_and_to_a_file(visit: Visit):
    export_id = visit.export("csv", month_from="1", month_to="3")
    visit.wait_for_ready(export_id)
    assert_whole_life(visit, export_id)

"""Whatever is interrupted in the middle of an export, the page ends right, and the file is made once and whole."""

import hashlib
import signal

import pytest

from tests.e2e.conftest import OpenVisit
from tests.e2e.stack import Stack
from tests.e2e.visits import Visit, assert_whole_life, falls
from tests.servers import wait_until

on_both_databases = pytest.mark.parametrize(
    "stack", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)

pytestmark = pytest.mark.usefixtures("slowly")

# A socket that cannot be made, one that never opens, and one that opens and then says nothing.
REFUSED = "window.WebSocket = class { constructor() { throw new DOMException('blocked', 'SecurityError'); } };"
HANGING = "window.WebSocket = class { send() {} close() {} };"
SILENT = "window.WebSocket = class { constructor() { setTimeout(() => this.onopen?.()); } send() {} close() {} };"


def file_of(visit: Visit, export_id: str) -> bytes:
    """What the link gives, which must be what the row says it is."""
    answer = visit.page.request.get(visit.part(export_id, "download").get_attribute("href"))
    assert hashlib.sha256(answer.body()).hexdigest() == visit.state(export_id)["file"]["sha256"]
    return answer.body()


def assert_made_once(stack: Stack, export_id: str) -> None:
    """One published file, and in the end no other bytes of this export."""
    assert stack.column("state", "artifact", export_id).count("published") == 1
    folder = stack.folder / "exports" / "generated" / export_id
    wait_until(lambda: len(list(folder.iterdir())) == 1, describe=lambda: f"{list(folder.iterdir())}")


def test_a_reload_in_the_middle_goes_on_where_the_bar_was(visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    before = visit.entries(export_id)
    visit.page.reload()
    visit.wait_for_ready(export_id)
    assert_whole_life(visit, export_id)
    assert falls(before + visit.entries(export_id)) == []


def test_a_second_tab_shows_the_same_to_the_end(stack: Stack, visit: Visit, open_visit: OpenVisit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    second = Visit(visit.page.context.new_page()).go()
    assert second.export() == export_id, "the same wish while it is under way is the same export"
    for each in (visit, second):
        each.wait_for_ready(export_id)
        assert_whole_life(each, export_id)
    assert_made_once(stack, export_id)


def test_the_web_process_killed_in_the_middle_comes_back_and_the_page_with_it(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    stack.kill("web")
    visit.wait_for_ready(export_id)
    assert_whole_life(visit, export_id)
    assert visit.state(export_id)["attempt"] == 1


def test_the_queue_s_server_killed_in_the_middle_costs_nothing(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    stack.kill("queue")
    visit.wait_for_ready(export_id)
    assert_whole_life(visit, export_id)
    assert visit.state(export_id)["attempt"] == 1


@pytest.mark.parametrize("block", [REFUSED, HANGING, SILENT], ids=["refused", "hanging", "silent"])
def test_without_a_socket_the_page_asks_and_ends_right(open_visit: OpenVisit, block: str):
    visit = open_visit("ada")
    visit.page.add_init_script(block)
    export_id = visit.go().export()
    visit.wait_for_ready(export_id)
    assert_whole_life(visit, export_id)


def test_a_page_that_lost_its_network_says_so_and_ends_right(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id, 0.1)
    visit.page.context.set_offline(True)
    # The browser keeps open sockets open when it plays being offline.
    stack.kill("web")
    visit.part(export_id, "notice").get_by_text("Connection lost").wait_for()
    visit.page.context.set_offline(False)
    visit.wait_for_ready(export_id)
    assert_whole_life(visit, export_id)


@on_both_databases
def test_a_worker_killed_in_the_middle_is_replaced_and_the_page_says_so(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    stack.kill("large")
    visit.wait_for_ready(export_id)
    assert_whole_life(visit, export_id)
    assert any(entry.text.startswith("Resumed") for entry in visit.entries(export_id))
    assert [visit.state(export_id)[name] for name in ("attempt", "resumed")] == [2, True]
    assert file_of(visit, export_id).count(b"\r\n") == 1 + 336_776
    assert_made_once(stack, export_id)


def test_a_worker_told_to_stop_gives_its_export_back_and_no_attempt_is_lost(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    stack.end("large", signal.SIGTERM)
    visit.wait_for_ready(export_id)
    assert_whole_life(visit, export_id)
    assert [visit.state(export_id)[name] for name in ("attempt", "resumed")] == [1, False]
    assert stack.column("crashes", "filerequest", export_id, key="id") == [0]


def test_cancel_wins_at_once_and_try_again_makes_the_file(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id, 0.05)
    visit.card(export_id).get_by_role("button", name="Cancel").click()
    visit.wait_for_status(export_id, "cancelled")
    assert visit.entries(export_id)[-1].link is None
    with visit.page.expect_response(lambda answer: answer.url.endswith("/retry/")) as answered:
        visit.card(export_id).get_by_role("button", name="Try again").click()
    again = answered.value.json()["id"]
    visit.wait_for_ready(again)
    assert_whole_life(visit, again)
    assert visit.link_status(again) == 200
    assert "published" not in stack.column("state", "artifact", export_id)

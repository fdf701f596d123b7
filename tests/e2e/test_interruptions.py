"""Interruptions in the middle of an export: the page still shows the correct end, and the file is complete."""

import hashlib
import signal

import pytest

from tests.e2e.conftest import OpenVisit, in_both_browsers
from tests.e2e.stack import Stack
from tests.e2e.visits import Visit, assert_ended_well, falls
from tests.servers import wait_until

on_both_databases = pytest.mark.parametrize(
    "stack", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)

pytestmark = pytest.mark.usefixtures("slowly")

# Sockets that cannot be created, that never open, and that open and send nothing.
REFUSED = "window.WebSocket = class { constructor() { throw new DOMException('blocked', 'SecurityError'); } };"
HANGING = "window.WebSocket = class { send() {} close() {} };"
SILENT = "window.WebSocket = class { constructor() { setTimeout(() => this.onopen?.()); } send() {} close() {} };"


def file_of(visit: Visit, export_id: str) -> bytes:
    """Download the file, and compare it with the checksum in the state."""
    answer = visit.page.request.get(visit.part(export_id, "download").get_attribute("href"))
    assert hashlib.sha256(answer.body()).hexdigest() == visit.state(export_id)["file"]["sha256"]
    return answer.body()


def assert_made_once(stack: Stack, export_id: str) -> None:
    """Assert that one file was published, and that no other file of this export remains."""
    assert stack.column("state", "artifact", export_id).count("published") == 1
    folder = stack.folder / "exports" / "generated" / export_id
    wait_until(lambda: len(list(folder.iterdir())) == 1, describe=lambda: f"{list(folder.iterdir())}")


def test_after_a_reload_the_bar_goes_on_from_where_it_was(visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    before = visit.entries(export_id)
    visit.page.reload()
    visit.wait_for_ready(export_id)
    assert_ended_well(visit, export_id)
    assert falls(before + visit.entries(export_id)) == []


def test_the_same_request_in_a_second_tab_follows_the_same_export(stack: Stack, visit: Visit, open_visit: OpenVisit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    second = visit.new_tab().go()
    assert second.export() == export_id
    for each in (visit, second):
        each.wait_for_ready(export_id)
        assert_ended_well(each, export_id)
    assert_made_once(stack, export_id)


@in_both_browsers
def test_the_page_recovers_when_the_queue_and_the_web_process_are_killed(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    stack.kill("queue")
    visit.wait_for_bar(export_id, 0.4)
    stack.kill("web")
    visit.wait_for_bar(export_id, 0.6)
    visit.wait_for_ready(export_id)
    assert_ended_well(visit, export_id)
    assert visit.state(export_id)["attempt"] == 1


@pytest.mark.parametrize("script", [REFUSED, HANGING, SILENT], ids=["refused", "hanging", "silent"])
def test_without_a_socket_the_page_polls_to_the_end(open_visit: OpenVisit, script: str):
    visit = open_visit("ada")
    visit.page.add_init_script(script)
    export_id = visit.go().export()
    visit.wait_for_bar(export_id)
    visit.wait_for_ready(export_id)
    assert_ended_well(visit, export_id)


def test_a_page_without_network_says_so_and_recovers(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id, 0.1)
    visit.page.context.set_offline(True)
    # Playwright's offline mode does not close sockets that are open.
    stack.kill("web")
    visit.part(export_id, "notice").get_by_text("Connection lost").wait_for()
    visit.page.context.set_offline(False)
    visit.wait_for_ready(export_id)
    assert_ended_well(visit, export_id)


@on_both_databases
def test_after_a_worker_was_killed_the_page_says_resumed(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    stack.kill("large")
    visit.part(export_id, "status").get_by_text("Starting over").wait_for()
    visit.wait_for_ready(export_id)
    assert_ended_well(visit, export_id)
    assert [visit.state(export_id)[name] for name in ("attempt", "resumed")] == [2, True]
    assert file_of(visit, export_id).count(b"\r\n") == 1 + 336_776
    assert_made_once(stack, export_id)


def test_a_worker_that_is_stopped_releases_its_export_without_an_attempt(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id)
    stack.end("large", signal.SIGTERM)
    visit.wait_for_ready(export_id)
    assert_ended_well(visit, export_id)
    assert [visit.state(export_id)[name] for name in ("attempt", "resumed")] == [1, False]
    assert stack.column("crashes", "filerequest", export_id, key="id") == [0]


def test_cancel_ends_an_export_at_once_and_try_again_makes_the_file(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id, 0.05)
    visit.card(export_id).get_by_role("button", name="Cancel").click()
    visit.wait_for_status(export_id, "cancelled")
    assert visit.entries(export_id)[-1].link is None
    with visit.page.expect_response(lambda answer: answer.url.endswith("/retry/")) as answered:
        visit.card(export_id).get_by_role("button", name="Try again").click()
    again = answered.value.json()["id"]
    visit.wait_for_ready(again)
    assert_ended_well(visit, again)
    assert visit.link_status(again) == 200
    assert "published" not in stack.column("state", "artifact", export_id)

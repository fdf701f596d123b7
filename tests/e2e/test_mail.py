"""Mails: one to a user who closed the page before the end, none to a user who saw it."""

import re
from email.message import EmailMessage

import pytest

from tests.e2e.conftest import OpenVisit
from tests.e2e.stack import Stack
from tests.e2e.visits import Visit
from tests.servers import Smtp, wait_until

ADA = "ada@example.com"
HIDE = "Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})"
SHOW = "delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange'))"


def mails_about(smtp: Smtp, export_id: str) -> list[EmailMessage]:
    return [mail for mail in smtp.mails_to(ADA) if export_id in mail.get_body(("plain",)).get_content()]


def wait_for_notification(stack: Stack, export_id: str) -> None:
    """Wait until the mail about this export was sent or suppressed."""
    ended = {"sent", "suppressed"}
    wait_until(lambda: ended.intersection(stack.column("state", "notification", export_id)), seconds=120)


@pytest.mark.usefixtures("slowly")
def test_a_user_who_closed_the_tab_gets_exactly_one_mail(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id, 0.1)
    visit.page.close()
    stack.hurry()
    wait_for_notification(stack, export_id)
    stack.housekeep()
    [mail] = mails_about(stack.smtp, export_id)
    # Others of this user may have ended together with it.
    assert re.fullmatch(r"Flights.*: [\d,]+ rows ready|\d+ exports ready", mail["Subject"])
    assert mail["Message-ID"]


def test_a_user_who_saw_the_end_gets_no_mail(stack: Stack, visit: Visit):
    export_id = visit.export(month_from="1", month_to="3")
    visit.wait_for_ready(export_id)
    wait_for_notification(stack, export_id)
    stack.housekeep()
    assert stack.column("reason", "notification", export_id) == ["seen"]
    assert mails_about(stack.smtp, export_id) == []


def test_a_user_whose_tab_is_hidden_at_the_end_gets_a_mail(stack: Stack, open_visit: OpenVisit):
    visit = open_visit("ada")
    visit.page.add_init_script(HIDE)
    # A download, as by the recorder, would count as seen.
    visit.page.route("**/download/", lambda route: route.abort())
    export_id = stack.client("ada").request_export(month_from="1", month_to="3")["id"]
    visit.go("/exports/").wait_for_status(export_id, "ready")
    wait_for_notification(stack, export_id)
    stack.housekeep()
    assert len(mails_about(stack.smtp, export_id)) == 1
    assert stack.column("seen_at", "filerequest", export_id, key="id") == [None]
    visit.page.evaluate(SHOW)
    wait_until(lambda: stack.column("seen_at", "filerequest", export_id, key="id") != [None], seconds=10)


def test_the_mail_links_to_the_page_behind_login_and_not_to_the_file(stack: Stack, open_visit: OpenVisit):
    state = stack.client("ada").make(month_from="2", month_to="2")
    wait_for_notification(stack, state["id"])
    [mail] = mails_about(stack.smtp, state["id"])
    [address] = re.findall(r"https?://\S+", mail.get_body(("plain",)).get_content())
    assert address == stack.url + state["urls"]["page"]
    assert state["urls"]["ticket"] not in str(mail)
    anonymous = open_visit(None).go(address)
    anonymous.page.get_by_label("Username").fill("ada")
    anonymous.page.get_by_label("Password").fill(stack.demo.passwords["ada"])
    anonymous.page.get_by_role("button", name="Log in").click()
    anonymous.page.wait_for_url(address)
    assert anonymous.link_status(state["id"]) == 200


@pytest.mark.slow
def test_a_mail_that_the_server_refused_at_first_arrives_once(stack: Stack):
    """The second attempt is made after 30 seconds."""
    with stack.smtp.refusing():
        state = stack.client("ada").make(month_from="3", month_to="3")
        wait_until(lambda: stack.smtp.refused > 0, seconds=60)
    wait_for_notification(stack, state["id"])
    stack.housekeep()
    assert len(mails_about(stack.smtp, state["id"])) == 1

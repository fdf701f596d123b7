"""One mail to whoever closed the page too early, none to whoever saw the end."""

import re
from email.message import EmailMessage

import pytest

from tests.e2e.conftest import OpenVisit
from tests.e2e.stack import Stack
from tests.e2e.visits import Visit
from tests.servers import Smtp, wait_until

ADA = "ada@example.com"


def mails_about(smtp: Smtp, export_id: str) -> list[EmailMessage]:
    return [mail for mail in smtp.mails_to(ADA) if export_id in mail.get_body(("plain",)).get_content()]


def wait_for_settled(stack: Stack, export_id: str) -> None:
    settled = ("sent", "suppressed")
    wait_until(lambda: any(state in settled for state in stack.column("state", "notification", export_id)), seconds=120)


@pytest.mark.usefixtures("slowly")
@pytest.mark.parametrize("stack", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True)
def test_a_tab_closed_before_the_end_gets_exactly_one_mail(stack: Stack, visit: Visit):
    export_id = visit.export()
    visit.wait_for_bar(export_id, 0.1)
    visit.page.close()
    wait_for_settled(stack, export_id)
    stack.housekeep()
    [mail] = mails_about(stack.smtp, export_id)
    assert mail["Subject"] == "Your export is ready: Flights"
    assert mail["Message-ID"]


def test_a_tab_kept_open_gets_none(stack: Stack, visit: Visit):
    export_id = visit.export(month_from="1", month_to="3")
    visit.wait_for_ready(export_id)
    wait_for_settled(stack, export_id)
    stack.housekeep()
    assert stack.column("reason", "notification", export_id) == ["seen"]
    assert mails_about(stack.smtp, export_id) == []


def test_the_mail_leads_to_the_page_behind_login_and_never_to_the_file(stack: Stack, open_visit: OpenVisit):
    state = stack.client("ada").make(month_from="2", month_to="2")
    wait_for_settled(stack, state["id"])
    [mail] = mails_about(stack.smtp, state["id"])
    [address] = re.findall(r"https?://\S+", mail.get_body(("plain",)).get_content())
    assert address == stack.url + state["urls"]["page"]
    assert state["urls"]["ticket"] not in str(mail)
    stranger = open_visit(None).go(address)
    stranger.page.get_by_label("Username").fill("ada")
    stranger.page.get_by_label("Password").fill(stack.demo.passwords["ada"])
    stranger.page.get_by_role("button", name="Log in").click()
    stranger.page.wait_for_url(address)
    assert stranger.link_status(state["id"]) == 200


@pytest.mark.slow
def test_a_mail_that_was_refused_for_a_while_arrives_once(stack: Stack):
    """The second attempt comes after half a minute."""
    with stack.smtp.refusing():
        state = stack.client("ada").make(month_from="3", month_to="3")
        wait_until(lambda: stack.smtp.refused > 0, seconds=60)
    wait_for_settled(stack, state["id"])
    stack.housekeep()
    assert len(mails_about(stack.smtp, state["id"])) == 1

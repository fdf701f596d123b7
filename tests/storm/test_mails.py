"""The mails of 500 exports: senders that die, a mail server that stops, users who have seen the end."""

import itertools
from pathlib import Path

import pytest

from tests.storm.auditor import assert_no_findings
from tests.storm.site import PATIENT, USERS, Site

EXPORTS, KILLS = 500, 30
SERVER_STOPPED = range(10, 20)


@pytest.mark.slow
def test_each_unseen_export_is_mailed_although_senders_die_and_the_server_stops(tmp_path: Path, needs_postgres: None):
    """A sender that dies between the server's 250 and its commit may cause a duplicate, which the auditor counts."""
    with Site(tmp_path, workers=("small", "small"), housekeepers=2, exports=PATIENT, rows=1000) as site:
        site.mailbox.stop()
        site.request_many(EXPORTS, rows=10)
        site.mailbox.start()
        senders = itertools.cycle(site.of("housekeeper"))
        for kill in range(KILLS):
            if kill == SERVER_STOPPED.start:
                site.mailbox.stop()
            if kill == SERVER_STOPPED.stop:
                site.mailbox.start()
            sender = next(senders)
            site.wait_until(sender.answers, "the sender did not start", pause=0.05)
            before = len(list(site.mailbox.mails()))
            if kill not in SERVER_STOPPED and is_mail_waiting(site):
                site.wait_until(
                    lambda n=before: len(list(site.mailbox.mails())) > n or not is_mail_waiting(site), "none"
                )
            sender.kill()
            sender.launch()
        site.wait_until_ended()
        site.wait_until_mailed(seconds=120)
        site.wait_until_clean()

        audited = assert_no_findings(site)
        assert audited.counts["mails"] - audited.counts["duplicate mails"] == EXPORTS


def is_mail_waiting(site: Site) -> bool:
    return bool(site.sql("SELECT 1 FROM exports_notification WHERE state IN ('pending', 'sending') LIMIT 1"))


@pytest.mark.slow
def test_users_who_have_seen_the_end_get_no_mail(tmp_path: Path, needs_postgres: None):
    with Site(tmp_path, workers=("small", "small"), exports={"MAIL_DELAY_SECONDS": 600}, rows=1000) as site:
        site.request_many(EXPORTS, rows=10)
        site.wait_until_ended()
        for user in range(USERS):
            with site.client(user) as client:
                own = [requested.id for requested in site.requested if requested.user == user]
                assert {client.post(f"/exports/{each}/seen/").status_code for each in own} == {200}
        site.sql("UPDATE exports_notification SET due_at = clock_timestamp()")
        site.wait_until_mailed()

        assert list(site.mailbox.mails()) == []
        assert_no_findings(site)

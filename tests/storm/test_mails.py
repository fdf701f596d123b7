"""The mails of five hundred exports: mailers that die, a server that is away, people who have seen it already."""

import itertools
from pathlib import Path

import pytest

from tests.storm.auditor import audit
from tests.storm.site import PATIENT, PEOPLE, Site

EXPORTS, KILLS = 500, 30
SERVER_AWAY = range(10, 20)


@pytest.mark.slow
def test_five_hundred_unseen_exports_are_mailed_although_mailers_die_and_the_server_is_away(
    tmp_path: Path, needs_postgres: None
):
    """A mailer that dies between the server's 250 and its commit may send it again, which the auditor sees."""
    with Site(tmp_path, workers=("small", "small"), housekeepers=2, exports=PATIENT, rows=1000) as site:
        site.mailbox.stop()
        site.ask_many(EXPORTS, rows=10)
        site.mailbox.start()
        mailers = itertools.cycle(site.of("housekeeper"))
        for kill in range(KILLS):
            if kill == SERVER_AWAY.start:
                site.mailbox.stop()
            if kill == SERVER_AWAY.stop:
                site.mailbox.start()
            mailer = next(mailers)
            site.until(mailer.answers, "the mailer is not there", pause=0.05)
            before = len(list(site.mailbox.mails()))
            if kill not in SERVER_AWAY and is_mail_waiting(site):
                site.until(lambda n=before: len(list(site.mailbox.mails())) > n or not is_mail_waiting(site), "no mail")
            mailer.kill()
            mailer.launch()
        site.until_ended()
        site.until_mailed(seconds=120)
        site.until_clean()

        audited = audit(site)
        assert audited.findings == [], str(audited)
        assert audited.counts["mails"] - audited.counts["mails again, in the gap"] == EXPORTS


def is_mail_waiting(site: Site) -> bool:
    return bool(site.sql("SELECT 1 FROM exports_notification WHERE state IN ('pending', 'sending') LIMIT 1"))


@pytest.mark.slow
def test_who_has_seen_the_end_of_five_hundred_exports_gets_no_mail(tmp_path: Path, needs_postgres: None):
    with Site(tmp_path, workers=("small", "small"), exports={"MAIL_DELAY_SECONDS": 600}, rows=1000) as site:
        site.ask_many(EXPORTS, rows=10)
        site.until_ended()
        for person in range(PEOPLE):
            with site.client(person) as client:
                own = [asked.id for asked in site.asked if asked.person == person]
                assert {client.post(f"/exports/{each}/seen/").status_code for each in own} == {200}
        site.sql("UPDATE exports_notification SET due_at = clock_timestamp()")
        site.until_mailed()

        assert list(site.mailbox.mails()) == []
        assert audit(site).findings == []

"""A bucket that answers with errors, breaks connections and takes its time."""

import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.storm.auditor import audit
from tests.storm.proxy import Proxy
from tests.storm.site import Site

EXPORTS = 100
# They wait for the bucket most of the time.
WORKERS = 6


@pytest.mark.slow
def test_of_a_hundred_exports_to_a_bad_bucket_99_are_ready_and_no_part_is_left(tmp_path: Path, needs_postgres: None):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    with ExitStack() as opened:
        proxies: list[Proxy] = []

        def before(url: str) -> str:
            """A proxy before this server, the same one for all."""
            if not proxies:
                target = int(url.rsplit(":", 1)[1])
                proxies.append(opened.enter_context(Proxy(target, seed=seed, errors=0.2, resets=0.1, delays=0.05)))
            return proxies[0].url

        site = opened.enter_context(Site(tmp_path, bucket=True, workers=["large"] * WORKERS, endpoint=before))
        for number in range(EXPORTS):
            site.ask(number % 4, format=("csv", "xlsx")[number % 2], first=number + 1, rows=1500)
        site.until_ended(seconds=400)
        site.until_mailed()
        site.until_clean(seconds=200)

        failed = site.sql("SELECT id::text, error_code FROM exports_filerequest WHERE status = 'failed'")
        assert len(failed) <= EXPORTS // 100
        assert {code for _, code in failed} <= {"storage_failed"}
        audited = audit(site, ends=dict.fromkeys([export_id for export_id, _ in failed], "failed"))
        assert audited.findings == [], f"seed {seed}\n{audited}"
        assert min(proxies[0].count(word) for word in ("error", "reset", "delay")) > 10

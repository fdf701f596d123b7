"""S3 that answers with errors, resets connections and is slow."""

import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.storm.auditor import assert_no_findings
from tests.storm.proxy import Proxy
from tests.storm.site import Site

EXPORTS = 100
# Most of the time they wait for S3.
WORKERS = 6


@pytest.mark.slow
def test_99_of_100_exports_are_ready_although_s3_fails_and_no_part_is_left(tmp_path: Path, needs_postgres: None):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    with ExitStack() as opened:
        proxies: list[Proxy] = []

        def before(url: str) -> str:
            """Return the URL of a proxy in front of S3, started at the first call."""
            if not proxies:
                target = int(url.rsplit(":", 1)[1])
                proxies.append(opened.enter_context(Proxy(target, seed=seed, errors=0.2, resets=0.1, delays=0.05)))
            return proxies[0].url

        site = opened.enter_context(Site(tmp_path, bucket=True, workers=["large"] * WORKERS, endpoint=before))
        for number in range(EXPORTS):
            site.request(number % 4, format=("csv", "xlsx")[number % 2], first=number + 1, rows=1500)
        site.wait_until_ended(seconds=400)
        site.wait_until_mailed()
        site.wait_until_clean(seconds=200)

        failed = site.sql("SELECT id::text, error_code FROM exports_filerequest WHERE status = 'failed'")
        assert len(failed) <= EXPORTS // 100, failed
        assert {code for _, code in failed} <= {"storage_failed"}
        assert_no_findings(site, ends=dict.fromkeys([export_id for export_id, _ in failed], "failed"))
        assert min(proxies[0].count(word) for word in ("error", "reset", "delay")) > 10

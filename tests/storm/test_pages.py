"""200 open pages reconnect and are up to date within 15 s after the web process was killed."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from tests.storm.auditor import assert_no_findings
from tests.storm.pages import MAX_LAG_SECONDS, OpenPages, Outage, Page
from tests.storm.site import Requested, Site
from tests.storm.transition_log import Step, logged_steps

PAGES, EXPORTS, USERS = 200, 40, 8
BATCH_SECONDS = 0.3


@pytest.mark.slow
def test_200_pages_are_up_to_date_15_s_after_the_web_process_is_back(tmp_path: Path, needs_postgres: None):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    with Site(tmp_path, workers=("large", "large", "large"), rows=2000) as site:
        site.arm("worker", f"first_row=sleep:{BATCH_SECONDS},mid_rows=sleep:{BATCH_SECONDS}")
        site.freeze("worker")
        requested = [site.request(number % USERS, first=number + 1, rows=1500) for number in range(EXPORTS)]
        with OpenPages(site, list(pages_of(site, requested, random.Random(seed)))) as pages:
            site.thaw_all()
            wait_until_ended(site, EXPORTS // 4)
            in_the_middle = kill_web(site, lambda: wait_until_ended(site, EXPORTS // 2))
            site.wait_until(lambda: pages.open_sockets() == PAGES, "not all pages have a socket again", seconds=60)
            wait_until_ended(site, EXPORTS - 10)
            at_the_end = kill_web(site, lambda: wait_until_ended(site, EXPORTS))
            site.wait_until(pages.are_up_to_date, "not every page is up to date", seconds=MAX_LAG_SECONDS, pause=0.1)
            outages = [in_the_middle, at_the_end]
            lag = pages.longest_lag(logged_steps(site.sql), outages)
            print(f"outages {[round(each.ended - each.began, 1) for each in outages]}, longest lag {lag:.1f} s")
        site.wait_until_mailed()
        site.wait_until_clean()

        assert lag <= MAX_LAG_SECONDS
        assert all(page.sockets >= 2 for page in pages.pages), "every page has reconnected"
        assert_no_findings(site)


@pytest.mark.parametrize(
    ("received", "outage", "lag"),
    [
        ([(90, 1), (103, 5)], None, 3),
        ([(90, 1), (103, 4)], None, float("inf")),
        ([(90, 5)], None, 0),
        ([(102, 1), (103, 5)], None, 1),
        ([(90, 1), (125, 5)], (99, 120), 5),
        ([(90, 1), (125, 5)], (110, 120), 5),
        ([(90, 1), (140, 5)], (116, 120), 40),
        ([(90, 1), (103, 5)], (80, 95), 3),
        ([], None, float("inf")),
    ],
    ids=["late", "never", "before", "opened later", "in the outage", "before it had to", "had to", "after", "nothing"],
)
def test_the_lag_of_a_page_is_computed_from_what_it_received(
    received: list[tuple[int, int]], outage: tuple[int, int] | None, lag: float
):
    page = Page(cast(Site, None), 0, ["one"], random.Random(), received=[(at, "one", seq) for at, seq in received])
    change = Step("one", datetime.fromtimestamp(100, UTC), "", "running", "ready", 1, 1, 4, 5, "")
    assert page.lag(change, [Outage(*outage)] if outage else []) == lag


def pages_of(site: Site, requested: Sequence[Requested], chance: random.Random) -> Iterator[Page]:
    """Yield 200 pages: every tenth follows all exports of its user, the others one export."""
    own = {user: [each.id for each in requested if each.user == user] for user in range(USERS)}
    for number in range(PAGES):
        one = requested[number % len(requested)]
        ids = own[one.user] if number % 10 == 0 else [one.id]
        yield Page(site, one.user, ids, random.Random(chance.random()))


def wait_until_ended(site: Site, count: int) -> None:
    site.wait_until(lambda: site.statuses().get("ready", 0) >= count, f"{count} exports have not ended", pause=0.05)


def kill_web(site: Site, meanwhile: Callable[[], None]) -> Outage:
    """Kill the web process, call `meanwhile`, start it again, and return the outage."""
    web, began = site.programs["web"], time.time()
    web.kill()
    meanwhile()
    web.start()
    return Outage(began, time.time())

"""Two hundred open pages, and the web process dies under them: every one of them comes back and is right in time."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from tests.storm.auditor import audit
from tests.storm.journal import Step, steps_of
from tests.storm.pages import CONVERGED, Crowd, Outage, Page
from tests.storm.site import Asked, Site

PAGES, EXPORTS, PEOPLE = 200, 40, 8
BATCH_SECONDS = 0.3


@pytest.mark.slow
def test_two_hundred_pages_are_right_within_15_s_of_the_web_process_being_back(tmp_path: Path, needs_postgres: None):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    with Site(tmp_path, workers=("large", "large", "large"), rows=2000) as site:
        site.arm("worker", f"first_row=sleep:{BATCH_SECONDS},mid_rows=sleep:{BATCH_SECONDS}")
        site.freeze("worker")
        asked = [site.ask(number % PEOPLE, first=number + 1, rows=1500) for number in range(EXPORTS)]
        with Crowd(site, list(pages_of(site, asked, random.Random(seed)))) as crowd:
            site.thaw_all()
            until_ended(site, EXPORTS // 4)
            in_the_middle = kill_web(site, lambda: until_ended(site, EXPORTS // 2))
            site.until(lambda: crowd.open() == PAGES, "not all pages have a socket again", seconds=60)
            until_ended(site, EXPORTS - 10)
            at_the_end = kill_web(site, lambda: until_ended(site, EXPORTS))
            site.until(crowd.are_right, "not every page is right", seconds=CONVERGED, pause=0.1)
            outages = [in_the_middle, at_the_end]
            lag = crowd.longest_lag(steps_of(site.sql), outages)
            print(f"away {[round(each.ended - each.began, 1) for each in outages]}, longest lag {lag:.1f} s")
        site.until_mailed()
        site.until_clean()

        assert lag <= CONVERGED
        assert all(page.sockets >= 2 for page in crowd.pages), "every page has lost its socket and come back"
        audited = audit(site)
        assert audited.findings == [], f"seed {seed}\n{audited}"


@pytest.mark.parametrize(
    ("heard", "outage", "lag"),
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
def test_how_far_a_page_was_behind_is_reckoned_from_what_it_heard(
    heard: list[tuple[int, int]], outage: tuple[int, int] | None, lag: float
):
    page = Page(cast(Site, None), 0, ["one"], random.Random(), heard=[(at, "one", seq) for at, seq in heard])
    change = Step("one", datetime.fromtimestamp(100, UTC), "", "running", "ready", 1, 1, 4, 5, "")
    assert page.lag(change, [Outage(*outage)] if outage else []) == lag


def pages_of(site: Site, asked: Sequence[Asked], chance: random.Random) -> Iterator[Page]:
    """Every tenth page follows all exports of its person, the others one."""
    own = {person: [each.id for each in asked if each.person == person] for person in range(PEOPLE)}
    for number in range(PAGES):
        one = asked[number % len(asked)]
        ids = own[one.person] if number % 10 == 0 else [one.id]
        yield Page(site, one.person, ids, random.Random(chance.random()))


def until_ended(site: Site, count: int) -> None:
    site.until(lambda: site.statuses().get("ready", 0) >= count, f"{count} exports have not ended", pause=0.05)


def kill_web(site: Site, meanwhile: Callable[[], None]) -> Outage:
    """SIGKILL, and a start once what was to happen meanwhile has happened."""
    web, began = site.programs["web"], time.time()
    web.kill()
    meanwhile()
    web.start()
    return Outage(began, time.time())

"""A download by Chromium over a line of 1 Mbit/s that is cut."""

from collections.abc import Iterator
from random import Random

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User

from tests.lines import SlowLine
from tests.office import rows
from tests.office.browsers import signed_in, url_of
from tests.office.chromium import Chromium
from tests.office.processes import Daphne
from tests.office.wires import cookie_of
from tests.servers import NotInstalled, wait_until

BYTES_PER_SECOND = 1_000_000 // 8
SIZE = 5 * BYTES_PER_SECOND
TICKET_SECONDS = 1


@pytest.fixture
def browser() -> Iterator[Chromium]:
    try:
        with Chromium() as browser:
            yield browser
    except NotInstalled as error:
        pytest.skip(str(error))


@pytest.mark.django_db(transaction=True)
def test_a_download_that_is_cut_is_resumed_although_its_link_has_expired(
    browser: Chromium, owner: User, settings: LazySettings
):
    settings.EXPORTS = {**settings.EXPORTS, "TICKET_MAX_AGE_SECONDS": TICKET_SECONDS}
    content = Random(1).randbytes(SIZE)
    export = rows.ready(owner, content)
    with Daphne() as site, SlowLine(site.port, bytes_per_second=BYTES_PER_SECOND) as line:
        tab = browser.open(line.url + url_of("page", export), cookie_of(signed_in(owner)))
        wait_until(lambda: browser.evaluate(tab, "document.querySelector('[data-part=download]') !== null"))
        before = line.carried
        browser.evaluate(tab, "document.querySelector('[data-part=download]').click()")
        wait_until(lambda: line.carried - before > SIZE / 2)
        line.cut()
        file = browser.downloads / export.filename
        wait_until(file.exists, describe=site.words)
        carried = line.carried - before
        assert file.read_bytes() == content
    # It was not sent from the beginning again.
    assert carried < 1.3 * SIZE
    assert rows.downloads().filter(export=export).exists()

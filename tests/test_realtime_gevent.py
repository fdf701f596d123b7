"""Signing out under gunicorn's gevent workers, where threads are greenlets."""

import httpx
import pytest
from django.contrib.auth.models import User

from tests.office import people
from tests.office.browsers import signed_in
from tests.office.processes import GunicornWithGevent
from tests.office.wires import cookie_of
from tests.servers import Valkey

TOKEN = "t" * 32

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("office")]


@pytest.mark.shows("gunicorn with gevent")
def test_signing_out_disturbs_no_page(owner: User, valkey: Valkey) -> None:
    with GunicornWithGevent() as server, httpx.Client(base_url=f"http://{server.host}") as browser:
        cookies = {"cookie": cookie_of(signed_in(people.user("other")))}

        def pages() -> list[int]:
            return [browser.get("/exports/", headers=cookies).status_code for _ in range(5)]

        assert pages() == [200] * 5
        leaver = {"cookie": f"{cookie_of(signed_in(owner))}; csrftoken={TOKEN}"}
        leaving = browser.post("/accounts/logout/", headers=leaver, data={"csrfmiddlewaretoken": TOKEN})
        assert leaving.status_code == 302
        assert pages() == [200] * 5
        assert "events are not sent" in server.words()

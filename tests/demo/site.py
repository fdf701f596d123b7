"""The demo site, tested with its own settings: test_project_demo.py runs this file in another process."""

import asyncio
import io
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.conf import LazySettings
from django.conf import settings as django_settings
from django.contrib.auth import authenticate, get_user_model
from django.contrib.sessions.models import Session
from django.core.mail import EmailMultiAlternatives
from django.core.mail.backends.filebased import EmailBackend as FileBackend
from django.core.management import call_command
from django.http import HttpRequest, QueryDict
from django.test import AsyncClient, Client, override_settings
from django.utils import timezone

from exports import services
from exports.models import FileRequest
from exports.worker import loop
from project.demo import credentials
from project.demo.forms import FlightFilter
from project.demo.loading import FlightsMissing, load
from project.demo.mails import mails_of
from project.demo.models import Flight, Weather
from project.demo.tables import table_of
from tests.demo.archive import FLIGHTS, write_archive

FORMAT = re.compile(r'<option value="(xlsx|csv|tsv|jsonl|parquet)"[^>]*>([^<]*)<')
# The demo's own way to store passwords is slow on purpose.
FAST_PASSWORDS = override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"])

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="session", autouse=True)
def loaded(django_db_setup: None, django_db_blocker: Any) -> list[int]:
    """Load a tiny archive and create the users, once. Return the reported sizes of the batches."""
    reported: list[int] = []
    with django_db_blocker.unblock(), FAST_PASSWORDS:
        assert load(write_archive(django_settings.VAR_DIR / "tiny.tar.gz"), expected=3, report=reported.append) == 3
        call_command("create_demo_users")
    return reported


@pytest.fixture
def client() -> Client:
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(get_user_model().objects.get(username="grace"))
    return client


# Loading


def test_each_batch_is_reported(loaded: list[int]):
    assert loaded == [3]


def test_values_have_their_types():
    first = Flight.objects.order_by("pk").values().first()
    assert (first["dep_time"], first["dep_delay"], first["air_time"], first["number"]) == (517, 2, 227, 1545)
    assert str(first["time_hour"]) == "2013-01-01 10:00:00+00:00"
    assert (first["carrier_id"], first["origin_id"], first["dest"]) == ("UA", "EWR", "IAH")
    assert (first["plane_id"], first["destination_id"]) == ("N14228", "IAH")
    weather = Weather.objects.values_list("temp", "wind_dir", "wind_gust", "precip", "pressure").get()
    assert weather == (39.02, 270, None, 0.0, None)


def test_missing_values_are_null_and_no_flight_is_lost():
    _, cancelled, unknown_plane = Flight.objects.order_by("pk").values()
    assert [cancelled[name] for name in ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")] == [None] * 5
    assert (cancelled["tailnum"], cancelled["plane_id"]) == ("", None)
    assert (cancelled["dest"], cancelled["destination_id"]) == ("PSE", None)
    assert (unknown_plane["tailnum"], unknown_plane["plane_id"]) == ("N999ZZ", None)
    assert len(Flight.objects.values_list("plane__model", "destination__name", "carrier__name")) == 3


def test_the_scheduled_minute_is_in_new_yorks_time():
    assert django_settings.TIME_ZONE == "Asia/Tokyo"
    assert [flight.scheduled_at.isoformat() for flight in Flight.objects.order_by("pk")] == [
        "2013-01-01T05:15:00-05:00",
        "2013-07-01T23:59:00-04:00",
        "2013-07-02T23:59:00-04:00",
    ]


def test_a_load_that_fails_changes_nothing(tmp_path: Path):
    short = write_archive(tmp_path / "short.tar.gz", flights="".join(FLIGHTS.splitlines(keepends=True)[:-1]))
    with pytest.raises(FlightsMissing, match="contains 2 flights; 3 were expected"):
        load(short, expected=3)
    assert Flight.objects.count() == 3


def test_a_second_load_does_nothing():
    output = io.StringIO()
    call_command("load_flights", stdout=output)
    assert output.getvalue() == "The flights are loaded.\n"


def test_a_demo_user_keeps_the_printed_password():
    users = get_user_model().objects
    assert dict(users.values_list("username", "is_staff")) == {"ada": False, "grace": False, "staff": True}
    password = credentials.ensure(django_settings.VAR_DIR / "demo.json")["passwords"]["ada"]
    with FAST_PASSWORDS:
        assert authenticate(HttpRequest(), username="ada", password=password)
        ada = users.get(username="ada")
        ada.set_password("changed on the site")
        ada.save()
        call_command("create_demo_users")
        assert authenticate(HttpRequest(), username="ada", password=password)


# Pages


@pytest.mark.parametrize(
    ("query", "count"),
    [("", 3), ("month_from=7", 2), ("month_to=6", 1), ("origin=EWR", 1), ("carrier=B6&month_to=7", 2)],
)
def test_the_filter_limits_the_flights(query: str, count: int):
    chosen = FlightFilter(QueryDict(query))
    assert chosen.is_valid()
    assert Flight.objects.matching(chosen.cleaned_data).count() == count


def test_the_page_needs_a_login(client: Client):
    client.logout()
    answer = client.get("/")
    assert (answer.status_code, answer["Location"]) == (302, "/login/?next=/")


def test_the_page_shows_the_flights_of_its_url(client: Client):
    page, newark = client.get("/").text, client.get("/?origin=EWR").text
    assert "3 flights" in page
    assert "UA 1545" in page
    assert "/exports/new/reference/" in page
    assert "1 flight<" in newark
    assert "B6 745" not in newark


def test_an_invalid_filter_is_explained_and_shows_no_flights(client: Client):
    page = client.get("/?month_from=5&month_to=2").text
    assert "Choose a month that is not before the first one." in page
    assert "0 flights" in page


def test_sorting_puts_missing_values_last_both_ways():
    tables = [table_of(Flight.objects.all(), sort=sort, page=None) for sort in ("dep_delay", "-dep_delay")]
    delays = [[row.record.dep_delay for row in table.paginated_rows] for table in tables]
    assert delays == [[1, 2, None], [2, 1, None]]


def test_show_redirects_to_a_url_without_the_csrf_token(client: Client):
    answer = client.post("/", {"origin": "EWR", "month_from": "", "csrfmiddlewaretoken": "secret", "next": "elsewhere"})
    assert (answer.status_code, answer["Location"]) == (302, "/?origin=EWR#flights")


def test_pages_have_a_strict_policy_and_nothing_inline(client: Client):
    page = client.get("/")
    policy = page["Content-Security-Policy"]
    for directive in ("default-src 'self'", "script-src 'self'", "style-src 'self'", "object-src 'none'"):
        assert directive in policy
    assert "unsafe" not in policy
    assert " style=" not in page.text
    assert "<style" not in page.text


def test_a_missing_page_does_not_repeat_its_url(client: Client):
    missing = client.get("/no-such-page/")
    assert missing.status_code == 404
    assert "no-such-page" not in missing.text


def test_static_files_are_served_from_their_folders():
    stylesheet = asyncio.run(AsyncClient().get("/static/site.css"))
    assert (stylesheet.status_code, stylesheet["Content-Type"]) == (200, 'text/css; charset="utf-8"')
    assert "export-surface" in stylesheet.text


# Exports

TABLES_AS = {"xlsx": "Excel", "csv": "CSV", "tsv": "TSV", "jsonl": "JSON Lines"}


@pytest.mark.parametrize("name", ["flights", "weather"])
def test_an_export_offers_each_format(client: Client, name: str):
    offered = dict(FORMAT.findall(client.get(f"/exports/new/{name}/").text))
    assert ("parquet" in offered) is (find_spec("pyarrow") is not None)
    assert {format: label for format, label in offered.items() if format != "parquet"} == TABLES_AS


def test_an_export_of_one_format_has_one_button(client: Client):
    page = client.get("/exports/new/reference/").text
    assert FORMAT.findall(page) == []
    assert ">Export Excel</button>" in page


def export(file_type: str, format: str, settings: LazySettings) -> FileRequest:
    """Return a finished export of Grace."""
    settings.EXPORTS = {**settings.EXPORTS, "QUEUE_BACKEND": None}
    grace = get_user_model().objects.get(username="grace")
    request, _ = services.request_export(grace, file_type, {}, format=format)
    loop.dispatch(request.pk)
    request.refresh_from_db()
    return request


@pytest.mark.parametrize("format", ["xlsx", "csv", "tsv", "jsonl", "parquet"])
def test_the_flights_can_be_exported_in_every_format(format: str, settings: LazySettings):
    if format == "parquet":
        pytest.importorskip("pyarrow")
    flights = export("flights", format, settings)
    assert (flights.status, flights.rows_done) == ("ready", 3)


def test_the_reference_is_a_workbook_of_designed_sheets(settings: LazySettings):
    reference = export("reference", "xlsx", settings)
    assert (reference.status, reference.receipt["rows_asked"], reference.rows_done) == ("ready", 8, 8)
    with reference.filehandle.open() as file:
        sheets = openpyxl.load_workbook(io.BytesIO(file.read())).worksheets
    assert [sheet.title for sheet in sheets] == ["Airlines in numbers", "Airlines", "Airports", "Planes"]
    assert list(sheets[0].values) == [
        ("Airline", "Flights", "Not departed", "Mean arrival delay (min)", "Miles"),
        ("JetBlue Airways", 2, 1, -9, 3034),
        ("United Air Lines Inc.", 1, 0, 11, 1400),
    ]
    assert [table.ref for sheet in sheets for table in sheet.tables.values()] == ["A1:E3", "A1:B3", "A1:F4", "A1:H2"]
    assert [str(each.sqref) for each in sheets[0].conditional_formatting] == ["B2:B3", "D2:D3"]


# Sessions


def test_a_logout_clears_what_the_browser_has_stored(client: Client):
    answer = client.post("/logout/")
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    # An image of a foreign page can send this.
    assert "Clear-Site-Data" not in client.get("/logout/").headers


def test_a_session_lasts_from_the_last_page_and_not_from_what_pages_ask_for(client: Client):
    def expiry() -> datetime:
        return Session.objects.get().expire_date

    Session.objects.exclude(pk=client.session.session_key).delete()
    Session.objects.update(expire_date=timezone.now() + timedelta(minutes=1))
    soon = expiry()
    client.get("/exports/", headers={"accept": "application/json"})
    assert expiry() == soon
    client.get("/exports/")
    kept = expiry()
    assert kept - timezone.now() > timedelta(seconds=django_settings.SESSION_COOKIE_AGE - 60)
    client.get("/exports/")
    assert expiry() == kept


def test_probes_have_the_headers_that_middleware_sets_for_pages():
    for path in ("/health/live", "/metrics"):
        answer = Client().get(path)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_cookies_over_https_belong_to_this_host_alone():
    code = "from project import settings; print(settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME)"
    environment = os.environ | {"HTTPS": "1", "SECRET_KEY": "x" * 50}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split() == ["__Host-sessionid", "__Host-csrftoken"]


def test_the_sixth_wrong_password_is_not_tried_and_each_is_logged(caplog: pytest.LogCaptureFixture):
    def answer_to(password: str, **headers: str) -> int:
        return Client(**headers).post("/login/", {"username": "grace", "password": password}).status_code

    with FAST_PASSWORDS:
        assert [answer_to("wrong") for _ in range(4)] == [200] * 4
        assert [answer_to("wrong") for _ in range(2)] == [429] * 2
        assert answer_to(credentials.ensure(django_settings.VAR_DIR / "demo.json")["passwords"]["grace"]) == 429
        assert answer_to("wrong", REMOTE_ADDR="192.0.2.1") == 200
        with override_settings(EXPORTS={**django_settings.EXPORTS, "TRUSTED_PROXIES": ["127.0.0.1"]}):
            assert answer_to("wrong", HTTP_X_FORWARDED_FOR="192.0.2.2") == 200
            assert answer_to("wrong", HTTP_X_FORWARDED_FOR="192.0.2.2:80") == 200
    assert sum("failure" in record.getMessage() for record in caplog.records) >= 5
    assert "wrong" not in caplog.text


# Mails


def test_pages_are_in_the_language_of_the_browser_until_one_is_chosen():
    client = Client(headers={"accept-language": "de-AT,de;q=0.9"})
    page = client.get("/login/").content.decode()
    assert '<html lang="de" dir="ltr">' in page
    assert "Zum Inhalt springen" in page
    chosen = client.post("/i18n/setlang/", {"language": "ar"}, headers={"referer": "http://testserver/login/"})
    assert chosen.headers["Location"] == "http://testserver/login/"
    page = client.get("/login/").content.decode()
    assert '<html lang="ar" dir="rtl">' in page
    assert "الانتقال إلى المحتوى" in page


def test_every_language_that_the_demo_offers_has_its_translations():
    folders = {
        path.parents[1].name for path in (django_settings.BASE_DIR / "project").glob("locale/*/LC_MESSAGES/*.mo")
    }
    assert {code for code, _name in django_settings.LANGUAGES} == folders | {"en"}


def test_users_see_their_own_mails_and_staff_see_all(client: Client):
    users = get_user_model().objects
    grace, ada, staff = (users.get(username=name) for name in ("grace", "ada", "staff"))
    for user in (grace, ada):
        mail = EmailMultiAlternatives(f"For {user.username}", "The text", to=[user.email])
        mail.attach_alternative("<p style='color:red'>The page</p>", "text/html")
        FileBackend(file_path=django_settings.MAILS_DIR).send_messages([mail])
    frames: dict[str, list[str]] = {}
    for user in (staff, grace, ada):
        client.force_login(user)
        page = client.get("/mails/").content.decode()
        assert [f"For {name}" in page for name in ("grace", "ada")] == [user != ada, user != grace]
        frames[user.username] = re.findall(r'<iframe sandbox [^>]*src="([^"]+)"', page)
    assert len(frames["staff"]) == 2
    answer = client.get(*frames["ada"])
    assert answer.content.decode().strip() == "<p style='color:red'>The page</p>"
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert client.get(*frames["grace"]).status_code == 404
    assert Client().get("/mails/").status_code == 302


def test_a_user_without_an_address_sees_no_part_of_a_mail():
    # The line with which the file backend ends a mail, in a text.
    mail = EmailMultiAlternatives("For ada", f"The text\n{'-' * 79}\n\nThe rest", to=["ada@example.com"])
    FileBackend(file_path=django_settings.MAILS_DIR).send_messages([mail])
    assert mails_of(get_user_model()(username="new", email="")) == []

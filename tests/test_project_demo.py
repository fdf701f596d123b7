"""The demo's data: the archive it comes from, the types it gets, and what the page shows of it.

The demo is a project of its own with settings of its own. So one other process loads a tiny archive, looks at what
came of it, and prints what it saw; the tests here judge that.
"""

import asyncio
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from project.demo import source

ROOT = Path(__file__).resolve().parent.parent
BUTTON = re.compile(r'name="format" value="(\w+)">([^<]*)<')

FLIGHTS = """\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,\
air_time,distance,hour,minute,time_hour
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,7,1,NA,2359,NA,NA,350,NA,B6,745,NA,JFK,PSE,NA,1617,23,59,2013-07-02T03:00:00Z
2013,7,2,2400,2359,1,1,350,-9,B6,745,N999ZZ,JFK,IAH,190,1417,23,59,2013-07-03T03:00:00Z
"""
TABLES = {
    "airlines.csv": "carrier,name\nUA,United Air Lines Inc.\nB6,JetBlue Airways\n",
    "airports.csv": (
        "faa,name,lat,lon,alt,tz,dst,tzone\n"
        "EWR,Newark Liberty Intl,40.6925,-74.168667,18,-5,A,America/New_York\n"
        "JFK,John F Kennedy Intl,40.639751,-73.778925,13,-5,A,America/New_York\n"
        "IAH,George Bush Intercontinental,29.984433,-95.341442,97,-6,A,\n"
    ),
    "planes.csv": (
        "tailnum,year,type,manufacturer,model,engines,seats,speed,engine\n"
        "N14228,NA,Fixed wing multi engine,BOEING,737-824,2,149,NA,Turbo-fan\n"
    ),
    "weather.csv": (
        "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour\n"
        "EWR,2013,1,1,1,39.02,26.06,59.37,270,10.35702,NA,0,NA,10,2013-01-01T06:00:00Z\n"
    ),
}


def write_archive(path: Path, *, flights: str = FLIGHTS) -> Path:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("flights.csv", flights)
    files = {name: text.encode() for name, text in TABLES.items()} | {"flights.csv.zip": packed.getvalue()}
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{source.TABLES}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / source.FILE_NAME)


def test_a_table_is_read_out_of_the_archive_line_by_line(archive: Path) -> None:
    flights = source.lines(archive, "flights")
    assert next(flights)[:3] == ["year", "month", "day"]
    assert next(flights)[-1] == "2013-01-01T10:00:00Z"
    assert list(source.lines(archive, "airlines"))[1] == ["UA", "United Air Lines Inc."]


def test_an_archive_that_is_there_is_not_fetched_again(archive: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert source.fetch(archive.parent, sha256=digest) == archive


def test_a_wrong_archive_is_refused_with_what_to_do(archive: Path) -> None:
    with pytest.raises(source.SourceUnusable, match=r"is not the expected file .*Delete it and load again"):
        source.fetch(archive.parent)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process with the demo's settings saw; see `observe`."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "DATABASE_"))},
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "SECRET_KEY": "only-for-tests",
        "VAR_DIR": str(folder),
        "TIME_ZONE": "Asia/Tokyo",
    }
    command = [sys.executable, "-W", "error", "-c", "from tests.test_project_demo import observe; observe()"]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_the_load_counts_and_reports_its_flights(seen: dict[str, Any]) -> None:
    assert seen["loaded"] == 3
    assert seen["reported"] == [3]


def test_values_have_their_types(seen: dict[str, Any]) -> None:
    first = seen["flights"][0]
    assert (first["dep_time"], first["dep_delay"], first["air_time"], first["number"]) == (517, 2, 227, 1545)
    assert first["time_hour"] == "2013-01-01 10:00:00+00:00"
    assert (first["carrier_id"], first["origin_id"], first["dest"]) == ("UA", "EWR", "IAH")
    assert (first["plane_id"], first["destination_id"]) == ("N14228", "IAH")
    assert seen["weather"] == [39.02, 270, None, 0.0, None]


def test_what_the_source_does_not_know_is_null_and_loses_no_flight(seen: dict[str, Any]) -> None:
    cancelled, unknown_plane = seen["flights"][1:]
    assert [cancelled[name] for name in ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")] == [None] * 5
    assert (cancelled["tailnum"], cancelled["plane_id"]) == ("", None)
    assert (cancelled["dest"], cancelled["destination_id"]) == ("PSE", None)
    assert (unknown_plane["tailnum"], unknown_plane["plane_id"]) == ("N999ZZ", None)
    assert seen["joined"] == 3


def test_the_scheduled_minute_is_new_yorks_on_any_server(seen: dict[str, Any]) -> None:
    assert seen["scheduled"] == [
        "2013-01-01T05:15:00-05:00",
        "2013-07-01T23:59:00-04:00",
        "2013-07-02T23:59:00-04:00",
    ]


def test_a_load_that_fails_changes_nothing(seen: dict[str, Any]) -> None:
    assert "contains 2 flights; 3 were expected" in seen["too_few"]
    assert seen["after_too_few"] == 3


def test_a_second_load_does_nothing(seen: dict[str, Any]) -> None:
    assert seen["again"] == "The flights are loaded.\n"


def test_the_filter_narrows_and_an_empty_one_does_not(seen: dict[str, Any]) -> None:
    assert seen["matching"] == {"": 3, "month_from=7": 2, "month_to=6": 1, "origin=EWR": 1, "carrier=B6&month_to=7": 2}


def test_the_page_is_for_people_who_are_logged_in(seen: dict[str, Any]) -> None:
    assert seen["anonymous"] == [302, "/login/?next=/"]


def test_the_page_shows_the_flights_of_its_address(seen: dict[str, Any]) -> None:
    assert "3 flights" in seen["page"]
    assert "UA 1545" in seen["page"]
    assert "1 flight<" in seen["page_of_newark"]
    assert "B6 745" not in seen["page_of_newark"]


def test_a_filter_that_makes_no_sense_is_explained_and_shows_nothing(seen: dict[str, Any]) -> None:
    assert "Choose a month that is not before the first one." in seen["page_of_nonsense"]
    assert "0 flights" in seen["page_of_nonsense"]


def test_sorting_puts_missing_values_last_both_ways(seen: dict[str, Any]) -> None:
    assert seen["by_delay"] == [[1, 2, None], [2, 1, None]]


def test_every_export_is_on_a_page_with_a_button_for_each_format_that_is_there(seen: dict[str, Any]) -> None:
    tables = {"xlsx": "Export Excel", "csv": "Export CSV", "tsv": "Export TSV", "jsonl": "Export JSON Lines"}
    for name, expected in {"flights": tables, "weather": tables, "reference": {"xlsx": "Export Excel"}}.items():
        buttons = seen["buttons"][name]
        assert {format: label for format, label in buttons.items() if format != "parquet"} == expected
        assert ("parquet" in buttons) is (expected is tables and find_spec("pyarrow") is not None)
    assert "/exports/new/reference/" in seen["page"]


def test_the_reference_is_a_workbook_of_designed_sheets(seen: dict[str, Any]) -> None:
    assert seen["reference"] == ["ready", 8, 8]
    sheets = seen["sheets"]
    assert list(sheets) == ["Airlines in numbers", "Airlines", "Airports", "Planes"]
    assert sheets["Airlines in numbers"]["rows"] == [
        ["Airline", "Flights", "Not departed", "Mean arrival delay (min)", "Miles"],
        ["JetBlue Airways", 2, 1, -9, 3034],
        ["United Air Lines Inc.", 1, 0, 11, 1400],
    ]
    assert [sheet["table"] for sheet in sheets.values()] == ["A1:E3", "A1:B3", "A1:F4", "A1:H2"]
    assert sheets["Airlines in numbers"]["painted"] == ["B2:B3", "D2:D3"]


@pytest.mark.parametrize("format", ["xlsx", "csv", "tsv", "jsonl", "parquet"])
def test_the_flights_can_be_had_in_every_format(seen: dict[str, Any], format: str) -> None:
    if format not in seen["buttons"]["flights"]:
        pytest.skip(f"the library of {format} is not installed")
    assert seen["flights_as"][format] == ["ready", 3]


def test_show_leads_to_an_address_without_the_csrf_token(seen: dict[str, Any]) -> None:
    assert seen["shown"] == [302, "/?origin=EWR#flights"]


def test_the_pages_have_a_strict_policy_and_nothing_inline(seen: dict[str, Any]) -> None:
    for directive in ("default-src 'self'", "script-src 'self'", "style-src 'self'", "object-src 'none'"):
        assert directive in seen["policy"]
    assert "unsafe" not in seen["policy"]
    assert " style=" not in seen["page"]
    assert "<style" not in seen["page"]


def test_not_found_says_nothing_about_what_was_asked_for(seen: dict[str, Any]) -> None:
    assert seen["missing"][0] == 404
    assert "no-such-page" not in seen["missing"][1]


def test_static_files_come_from_their_folders_under_asgi(seen: dict[str, Any]) -> None:
    assert seen["stylesheet"] == [200, 'text/css; charset="utf-8"', True]


def test_a_demo_user_keeps_the_printed_password(seen: dict[str, Any]) -> None:
    assert seen["users"] == {"ada": False, "grace": False, "staff": True}
    assert seen["logs_in"] == [True, True]


def observe() -> None:
    """Runs with the demo's settings, in a process of its own, and prints one line of JSON."""
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.test import override_settings

    call_command("migrate", verbosity=0)
    archive = write_archive(settings.VAR_DIR / "tiny.tar.gz")
    # The demo's own way to store passwords is slow on purpose.
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        print(json.dumps(dict(observations(archive)), default=str))


def observations(archive: Path) -> Iterator[tuple[str, Any]]:
    yield from observe_loading(archive)
    yield from observe_users()
    yield from observe_pages()
    yield from observe_exports()


def observe_loading(archive: Path) -> Iterator[tuple[str, Any]]:
    from django.core.management import call_command
    from django.http import QueryDict

    from project.demo.forms import FlightFilter
    from project.demo.loading import FlightsMissing, load
    from project.demo.models import Flight, Weather

    reported: list[int] = []
    yield "loaded", load(archive, expected=3, report=reported.append)
    yield "reported", reported
    yield "flights", list(Flight.objects.order_by("pk").values())
    yield "weather", Weather.objects.values_list("temp", "wind_dir", "wind_gust", "precip", "pressure").get()
    yield "joined", len(Flight.objects.values_list("plane__model", "destination__name", "carrier__name"))
    yield "scheduled", [flight.scheduled_at.isoformat() for flight in Flight.objects.order_by("pk")]
    short = write_archive(archive.with_name("short.tar.gz"), flights="".join(FLIGHTS.splitlines(keepends=True)[:-1]))
    try:
        load(short, expected=3)
    except FlightsMissing as error:
        yield "too_few", str(error)
    yield "after_too_few", Flight.objects.count()
    said = io.StringIO()
    call_command("load_flights", stdout=said)
    yield "again", said.getvalue()
    matching = {}
    for query in ("", "month_from=7", "month_to=6", "origin=EWR", "carrier=B6&month_to=7"):
        chosen = FlightFilter(QueryDict(query))
        assert chosen.is_valid()
        matching[query] = Flight.objects.matching(chosen.cleaned_data).count()
    yield "matching", matching


def observe_users() -> Iterator[tuple[str, Any]]:
    from django.contrib.auth import authenticate, get_user_model
    from django.core.management import call_command

    from project.demo import credentials

    users = get_user_model().objects
    path = Path(os.environ["VAR_DIR"], "demo.json")
    call_command("create_demo_users")
    yield "users", dict(users.order_by("username").values_list("username", "is_staff"))
    password = credentials.ensure(path)["passwords"]["ada"]
    first = authenticate(username="ada", password=password) is not None
    ada = users.get(username="ada")
    ada.set_password("changed on the site")
    ada.save()
    call_command("create_demo_users")
    yield "logs_in", [first, authenticate(username="ada", password=password) is not None]


def observe_pages() -> Iterator[tuple[str, Any]]:
    from django.contrib.auth import get_user_model
    from django.test import AsyncClient, Client

    from project.demo.models import Flight
    from project.demo.tables import table_of

    client = Client(headers={"host": "127.0.0.1"})
    anonymous = client.get("/")
    yield "anonymous", [anonymous.status_code, anonymous["Location"]]
    client.force_login(get_user_model().objects.get(username="grace"))
    page = client.get("/")
    yield "policy", page["Content-Security-Policy"]
    yield "page", page.text
    yield "page_of_newark", client.get("/?origin=EWR").text
    yield "page_of_nonsense", client.get("/?month_from=5&month_to=2").text
    shown = client.post("/", {"origin": "EWR", "month_from": "", "csrfmiddlewaretoken": "secret", "next": "elsewhere"})
    yield "shown", [shown.status_code, shown["Location"]]
    missing = client.get("/no-such-page/")
    yield "missing", [missing.status_code, missing.text]
    stylesheet = asyncio.run(AsyncClient().get("/static/site.css"))
    yield "stylesheet", [stylesheet.status_code, stylesheet["Content-Type"], "export-surface" in stylesheet.text]
    tables = [table_of(Flight.objects.all(), sort=sort, page=None) for sort in ("dep_delay", "-dep_delay")]
    yield "by_delay", [[row.record.dep_delay for row in table.paginated_rows] for table in tables]


def observe_exports() -> Iterator[tuple[str, Any]]:
    import openpyxl
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(get_user_model().objects.get(username="grace"))
    pages = {name: client.get(f"/exports/new/{name}/").text for name in ("flights", "weather", "reference")}
    yield "buttons", {name: dict(BUTTON.findall(page)) for name, page in pages.items()}
    flights = {format: made("flights", format) for format in dict(BUTTON.findall(pages["flights"]))}
    yield "flights_as", {format: [request.status, request.rows_done] for format, request in flights.items()}
    reference = made("reference", "xlsx")
    assert reference.status == "ready", reference.error_detail
    yield "reference", [reference.status, reference.receipt["rows_asked"], reference.rows_done]
    with reference.filehandle.open() as file:
        book = openpyxl.load_workbook(io.BytesIO(file.read()))
    yield "sheets", {sheet.title: look_of(sheet) for sheet in book.worksheets}


def made(file_type: str, format: str) -> Any:
    """A finished request of Grace's."""
    from django.contrib.auth import get_user_model
    from django.test import override_settings

    from exports import services
    from exports.worker import loop

    grace = get_user_model().objects.get(username="grace")
    with override_settings(EXPORTS={**settings_of_exports(), "QUEUE_BACKEND": None}):
        request, _ = services.request_export(grace, file_type, {}, format=format)
        loop.dispatch(request.pk)
    request.refresh_from_db()
    return request


def settings_of_exports() -> dict[str, Any]:
    from django.conf import settings

    return settings.EXPORTS


def look_of(sheet: Any) -> dict[str, Any]:
    [table] = sheet.tables.values()
    painted = [str(each.sqref) for each in sheet.conditional_formatting]
    return {"rows": [list(row) for row in sheet.values], "table": table.ref, "painted": painted}

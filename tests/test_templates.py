"""The pages, mails and template tags: valid, accessible and without inline code, in every status."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import AnonymousUser, User
from django.template import RequestContext, Template
from django.test import Client, RequestFactory
from django.utils import translation

from exports import notifications
from exports.http import assets, words
from exports.models import FileRequest, Notification, Status, transitions
from exports.models.progress import WRITING, Snapshot
from exports.models.result import ExportResult
from exports.realtime.routing import websocket_urlpatterns
from exports.state import serialize
from tests.office import people, rows
from tests.office.browsers import HTML, url_of
from tests.office.exports import MonthForm
from tests.office.markup import HtmlPage, check_forms, check_labels, check_page

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

ROOT = Path(__file__).resolve().parent.parent
FORM = "/exports/new/report/"
ACTIVE = ("queued", "running")


@pytest.mark.parametrize("status", Status.values)
def test_the_page_of_an_export_shows_what_its_status_allows(browser: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner)
    page = check_page(browser.get(url_of("page", request)).content.decode())
    [progress] = page.all("export-progress")
    assert (progress["status"], progress["export-id"]) == (status, str(request.pk))
    assert page.states[0]["status"] == status
    shown = {form.get("data-part") or form["class"] for form in page.all("form") if "hidden" not in form}
    after_the_end = {"export-again" if status == "ready" else "retry", "delete"}
    assert shown == ({"cancel"} if status in ACTIVE else after_the_end)
    [download] = [link for link in page.all("a") if link.get("data-part") == "download"]
    assert ("hidden" not in download) == (status == "ready")


@pytest.mark.parametrize("status", Status.values)
def test_without_javascript_a_page_reloads_only_while_an_export_is_active(browser: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner)
    for address in (url_of("page", request), "/exports/"):
        page = HtmlPage(browser.get(address).content.decode())
        assert page.refreshes == ([("html", "head", "noscript")] if status in ACTIVE else [])


@pytest.mark.parametrize("status", Status.values)
def test_a_plain_page_reloads_itself_and_has_no_script_and_no_link_to_itself(browser: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner)
    for address in (url_of("page", request), "/exports/"):
        page = check_page(browser.get(address, {"plain": "1"}).content.decode())
        assert page.refreshes == ([("html", "head")] if status in ACTIVE else [])
        assert {script.get("type") for script in page.all("script")} == {"application/json"}
        assert [link for link in page.all("a") if "plain" in link["href"]] == []


def test_the_list_shows_exports_in_every_status_and_says_when_there_are_none(browser: Client, owner: User):
    assert "No exports yet." in check_page(browser.get("/exports/").content.decode()).text
    for make in rows.IN_STATUS.values():
        make(owner)
    page = check_page(browser.get("/exports/").content.decode())
    assert [each["status"] for each in page.all("export-progress")] == list(reversed(Status.values))


def test_the_list_links_to_its_other_pages(browser: Client, owner: User):
    for _ in range(45):
        rows.cancelled(owner)
    links = [
        [
            link["href"].partition("&after=")[0].partition("&before=")[0]
            for link in check_page(browser.get(f"/exports/?page={n}").content.decode()).all("a")
            if "rel" in link
        ]
        for n in (1, 2, 3)
    ]
    assert links == [["?page=2"], ["?page=1", "?page=3"], ["?page=2"]]


def test_the_form_page_is_valid_empty_and_with_errors(browser: Client):
    for response in (browser.get(FORM), browser.post(FORM, {"month": "13"}, headers=HTML)):
        page = check_page(response.content.decode())
        assert [option["value"] for option in page.all("option")][:2] == ["csv", "xlsx"]
        assert {"name": "time_zone", "type": "hidden", "value": ""} in page.all("input")


def test_the_page_of_a_refusal_links_to_the_list(browser: Client, owner: User):
    page = check_page(browser.post(url_of("retry", rows.ready(owner)), headers=HTML).content.decode())
    assert "/exports/" in [link["href"] for link in page.all("a")]


def test_pages_declare_their_language(browser: Client, owner: User, settings: LazySettings):
    settings.LANGUAGE_CODE = "de"
    for address in ("/exports/", FORM, url_of("page", rows.ready(owner))):
        check_page(browser.get(address).content.decode(), language="de")


HOSTILE = '</script><script>alert(1)</script><b onclick="x">"\'&'


@pytest.mark.parametrize("status", Status.values)
def test_titles_and_file_names_are_escaped(browser: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner, description=HOSTILE, filename=HOSTILE)
    for address in (url_of("page", request), "/exports/"):
        page = check_page(browser.get(address).content.decode())
        assert page.states[0]["title"] == HOSTILE
        assert not page.all("b")


def bar_of(browser: Client, request: FileRequest) -> dict[str, str | None]:
    return HtmlPage(browser.get(url_of("page", request)).content.decode()).all("progress")[0]


def test_the_bar_follows_the_fraction(browser: Client, owner: User, settings: LazySettings):
    settings.LANGUAGE_CODE = "de"
    request, claim = rows.claimed(owner)
    assert bar_of(browser, request)["value"] == "0.0"
    assert transitions.renew_lease(claim, rows.progress(900), began_phase=True, progressed=True)
    value = bar_of(browser, request)["value"]
    assert 0.3 < float(value) < 0.5
    assert transitions.renew_lease(claim, rows.progress(900, None), began_phase=False, progressed=True)
    assert "value" not in bar_of(browser, request)
    assert rows.publish(claim)
    assert bar_of(browser, request)["value"] == "1"


@pytest.mark.parametrize(
    ("status", "columns", "text"),
    [
        ("queued", {}, "Waiting, next in line"),
        ("queued", {"crashes": 1}, "Waiting for another worker, next in line"),
        ("running", {}, "Counting rows"),
        ("running", {"attempts": 2}, "Starting over, attempt 2"),
        ("running", {"phase": "writing", "rows_done": 1900}, "Writing rows: 1,900 so far"),
        ("running", {"phase": "writing", "rows_done": 1900, "rows_total": 20000}, "Writing rows: 1,900 of 20,000"),
        ("running", {"phase": "finishing"}, "Finishing the file"),
        ("running", {"phase": "storing"}, "Storing the file"),
        ("running", {"phase": "queued"}, "Working"),
        ("ready", {"filename": "a.csv", "size": 2048}, "Ready: a.csv, 2.0\xa0KB"),
        ("failed", {"error_code": "stalled"}, "Failed: The export stopped making progress. Please try again."),
        ("cancelled", {}, "Cancelled"),
        ("expired", {}, "Expired"),
    ],
)
def test_each_status_has_a_sentence(owner: User, status: str, columns: dict[str, Any], text: str):
    request = rows.IN_STATUS[status](owner)
    FileRequest.objects.filter(pk=request.pk).update(**{"phase": "counting", "attempts": 1} | columns)
    assert words.status_text(serialize(rows.fresh(request))) == text


@pytest.mark.parametrize(
    ("total", "shown"), [(7, "7"), (999, "999"), (1234, "1,230"), (336_776, "337,000"), (999_999, "1,000,000")]
)
def test_an_estimated_total_is_rounded_to_three_digits(owner: User, total: int, shown: str):
    request, claim = rows.claimed(owner)
    estimated = Snapshot(WRITING, 5, total, rows_estimated=True)
    assert transitions.renew_lease(claim, estimated, began_phase=True, progressed=True)
    assert words.status_text(serialize(rows.fresh(request))) == f"Writing rows: 5 of about {shown}"


def test_an_estimated_percentage_says_so(browser: Client, owner: User):
    request, claim = rows.claimed(owner)
    estimated = Snapshot(WRITING, 900, 2_003_417, rows_estimated=True)
    assert transitions.renew_lease(claim, estimated, began_phase=True, progressed=True)
    assert 'data-part="percent">about 1%<' in browser.get(url_of("page", request)).content.decode()


def test_the_receipt_says_when_the_rows_were_not_counted(browser: Client, owner: User):
    request, claim = rows.claimed(owner)
    receipt = {"rows_asked": None, "rows": 7, "alterations": {}, "language": "en", "time_zone": "UTC", "sha256": "ab"}
    assert transitions.publish(claim, ExportResult("a.csv", "text/csv", 7, receipt, size=1, sha256="ab"))
    page = browser.get(url_of("page", request)).content.decode()
    assert "7 rows written, without a count beforehand." in page


def test_the_receipt_shows_rows_alterations_and_the_hash(browser: Client, owner: User):
    request = rows.ready(owner)
    page = browser.get(url_of("page", request)).content.decode()
    assert "2,000 rows asked for, and everything written." in page
    assert request.sha256 in page
    assert "control" in page.lower()


def test_a_failed_export_shows_its_reason_but_not_the_detail(browser: Client, owner: User):
    page = browser.get(url_of("page", rows.failed(owner))).content.decode()
    assert "There is no room for the file." in page
    assert "secret detail" not in page


# Mails


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_a_mail_links_to_the_page_and_escapes_the_title(owner: User, status: str):
    request = rows.IN_STATUS[status](owner, description=HOSTILE + "\r\nBcc: everybody@example.com")
    mail = notifications.compose([Notification.objects.get(request=request)])
    [(html, kind)] = mail.alternatives
    page, address = HtmlPage(html), f"https://exports.example{url_of('page', request)}"
    assert kind == "text/html"
    # Mail programs need inline styles.
    assert not page.all("script", "img", "form")
    assert [link["href"] for link in page.all("a")] == [address]
    assert address in mail.body
    assert "\n" not in mail.subject
    assert mail.message()["Bcc"] is None
    assert "/exports/file/" not in mail.body + html
    assert not page.all("b")
    assert HOSTILE in mail.subject


def test_a_mail_says_what_is_ready_or_why_it_failed(owner: User):
    ready, failed = rows.ready(owner), rows.failed(owner)
    bodies = [notifications.compose([Notification.objects.get(request=each)]).body for each in (ready, failed)]
    assert all(text in bodies[0] for text in ("report.csv", "KB", str(ready.expires_at.year)))
    assert "There is no room for the file." in bodies[1]
    assert "secret detail" not in bodies[1]


# Template tags


def render(text: str, user: User | AnonymousUser, **context: Any) -> HtmlPage:
    """Render a piece of a project's page."""
    http_request = RequestFactory().get("/")
    http_request.user = user
    return HtmlPage(
        Template("{% load exports %}" + text).render(RequestContext(http_request, {"user": user, **context}))
    )


def test_export_form_shows_the_form_with_a_choice_of_the_format_and_one_button(owner: User):
    page = render('{% export_form "report" %}', owner)
    assert [form["action"] for form in page.all("form")] == [FORM]
    assert [select["name"] for select in page.all("select")] == ["format", "option_csv.profile"]
    assert [option["value"] for option in page.all("option")][:2] == ["csv", "xlsx"]
    assert page.text.count('export-button-main" type="submit">Export</button>') == 1
    check_forms(page)
    check_labels(page)


def test_export_form_shows_a_form_that_the_view_has_filled(owner: User):
    page = render('{% export_form "report" form=mine %}', owner, mine=MonthForm({"month": "7"}))
    assert "7" in [field.get("value") for field in page.all("input")]


def test_export_list_shows_the_newest_exports_of_the_user(owner: User):
    requests = [rows.queued(owner) for _ in range(7)]
    rows.queued(people.user("other"))
    page = render("{% export_list user %}", owner)
    assert [each["export-id"] for each in page.all("export-progress")] == [
        str(request.pk) for request in reversed(requests[2:])
    ]
    assert page.states[0] == json.loads(json.dumps(serialize(requests[-1])))
    assert len(render("{% export_list user count=2 %}", owner).all("export-progress")) == 2


def test_export_list_shows_an_anonymous_user_nothing():
    rows.ready(None)
    assert render("{% export_list user %}", AnonymousUser()).all("export-progress") == []


def test_export_assets_include_the_stylesheet_the_script_and_its_words(owner: User):
    page = render("{% export_assets %}", owner)
    assert [link["href"] for link in page.all("link")] == [f"/static/exports/{assets.stem()}.css"]
    assert {"type": "module", "src": f"/static/exports/{assets.stem()}.js"} in page.all("script")
    assert page.config["words"]["writing"] == "Writing rows: {done} of {total}"
    assert page.config["words"]["rows"]["1"] == "{count} row"


def test_the_tabs_of_a_user_share_a_socket_that_those_of_another_do_not(browser: Client, owner: User):
    mine = HtmlPage(browser.get("/exports/").content.decode()).config["reader"]
    assert mine == render("{% export_assets %}", owner).config["reader"]
    assert mine != render("{% export_assets %}", people.user("other")).config["reader"]


def test_the_script_only_uses_words_that_the_catalogue_has():
    sources = [path.read_text() for path in sorted((ROOT / "frontend").glob("*.js"))]
    used = {key for source in sources for key in re.findall(r"\.text\(\"(\w+)\"", source)}
    assert len(used) > 30
    assert used <= words.WORDS.keys()


def test_pages_connect_to_the_sockets_that_are_routed(browser: Client, owner: User):
    request = rows.running(owner)
    page = HtmlPage(browser.get(url_of("page", request)).content.decode())
    [progress] = page.all("export-progress")
    for path in (page.config["socket"], progress["socket"]):
        assert any(route.pattern.match(path.removeprefix("/")) for route in websocket_urlpatterns)
    assert progress["socket"] == f"{page.config['socket']}{request.pk}/"
    assert "/ws/" not in "".join(path.read_text() for path in (ROOT / "frontend").glob("*.js"))


def test_an_alteration_is_named_in_words(owner: User):
    with translation.override("en"):
        page = render('{{ "control_characters"|alteration }}, {{ "some_other_kind"|alteration }}', owner)
    assert page.text.endswith(", some other kind")
    assert "_" not in page.text

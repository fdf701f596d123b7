"""The pages, the mails and the template tags: whole, labelled, without inline code, in every status."""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import AnonymousUser, User
from django.template import RequestContext, Template
from django.test import Client, RequestFactory
from django.utils import translation

from exports import notifications
from exports.models import FileRequest, Notification, Status, transitions
from exports.models.progress import WRITING, Snapshot
from exports.models.result import ExportResult
from exports.state import serialize
from tests.office import people, rows
from tests.office.browsers import HTML, door, signed_in
from tests.office.exports import MonthForm, open_office

pytestmark = pytest.mark.django_db

VOID = {"br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
FORM = "/exports/new/report/"
ACTIVE = ("queued", "running")


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
def owner() -> User:
    return people.user("owner")


@pytest.fixture
def client(owner: User) -> Client:
    return signed_in(owner)


class Page(HTMLParser):
    """A page, taken apart. Raises AssertionError where a tag is not closed by its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.refreshes: list[tuple[str, ...]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(attributes) == len(dict(attributes)), f"an attribute twice: {attributes}"
        self.tags.append((tag, dict(attributes)))
        if ("http-equiv", "refresh") in attributes:
            self.refreshes.append(tuple(self._open))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another tag, {self.getpos()}"

    def handle_data(self, text: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts.append(text)

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]

    @property
    def states(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.scripts]


def check_page(text: str, *, language: str = "en") -> Page:
    """What holds for every page of the app."""
    page = Page(text)
    assert text.startswith("<!doctype html>\n<html")
    assert page.all("html") == [{"lang": language}]
    assert page.all("title")
    check_no_inline_code(page)
    check_labels(page)
    check_forms(page)
    return page


def check_no_inline_code(page: Page) -> None:
    assert not page.all("style")
    for script in page.all("script"):
        assert script.get("src") or script == {"type": "application/json"}
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("href", "src", "action"):
            assert not (attributes.get(name) or "").lstrip().lower().startswith(("javascript:", "data:")), tag


def check_labels(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    labelled = {label.get("for") for label in page.all("label")}
    for field in page.all("input", "select", "textarea"):
        assert field.get("type") in ("hidden", "submit") or field.get("id") in labelled or field.get("aria-label")
    for bar in page.all("progress"):
        assert bar["aria-label"]


def check_forms(page: Page) -> None:
    posts = [form for form in page.all("form") if form.get("method") == "post"]
    tokens = [field for field in page.all("input") if field.get("name") == "csrfmiddlewaretoken"]
    assert len(tokens) == len(posts)
    assert all(token["value"] for token in tokens)


@pytest.mark.parametrize("status", Status.values)
def test_the_page_of_a_request_is_whole_in_every_status(client: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner)
    page = check_page(client.get(door("page", request)).content.decode())
    [progress] = page.all("export-progress")
    assert (progress["status"], progress["export-id"]) == (status, str(request.pk))
    assert page.states[0]["status"] == status
    shown = {form.get("data-part") or form["class"] for form in page.all("form") if "hidden" not in form}
    assert shown == ({"cancel"} if status in ACTIVE else {"export-again" if status == "ready" else "retry"})
    [download] = [link for link in page.all("a") if link.get("data-part") == "download"]
    assert ("hidden" not in download) == (status == "ready")


@pytest.mark.parametrize("status", Status.values)
def test_without_javascript_a_page_reloads_itself_only_while_something_is_under_way(
    client: Client, owner: User, status: str
):
    request = rows.IN_STATUS[status](owner)
    for address in (door("page", request), "/exports/"):
        page = Page(client.get(address).content.decode())
        assert page.refreshes == ([("html", "head", "noscript")] if status in ACTIVE else [])


def test_the_list_is_whole_with_requests_in_every_status_and_with_none(client: Client, owner: User):
    assert "No exports yet." in check_page(client.get("/exports/").content.decode()).text
    for make in rows.IN_STATUS.values():
        make(owner)
    page = check_page(client.get("/exports/").content.decode())
    assert [each["status"] for each in page.all("export-progress")] == list(reversed(Status.values))


def test_the_list_leads_to_its_other_pages(client: Client, owner: User):
    for _ in range(45):
        rows.cancelled(owner)
    links = [
        [
            link["href"]
            for link in check_page(client.get(f"/exports/?page={n}").content.decode()).all("a")
            if "rel" in link
        ]
        for n in (1, 2, 3)
    ]
    assert links == [["?page=2"], ["?page=1", "?page=3"], ["?page=2"]]


def test_the_form_is_whole_empty_and_refused(client: Client):
    for response in (client.get(FORM), client.post(FORM, {"month": "13"}, headers=HTML)):
        page = check_page(response.content.decode())
        assert [button["value"] for button in page.all("button")] == ["csv", "xlsx"]
        assert {"name": "time_zone", "type": "hidden", "value": ""} in page.all("input")


def test_a_refusal_is_whole_and_leads_on(client: Client, owner: User):
    page = check_page(client.post(door("retry", rows.ready(owner)), headers=HTML).content.decode())
    assert "/exports/" in [link["href"] for link in page.all("a")]


def test_a_page_says_in_which_language_it_is(client: Client, owner: User, settings: LazySettings):
    settings.LANGUAGE_CODE = "de"
    for address in ("/exports/", FORM, door("page", rows.ready(owner))):
        check_page(client.get(address).content.decode(), language="de")


HOSTILE = '</script><script>alert(1)</script><b onclick="x">"\'&'


@pytest.mark.parametrize("status", Status.values)
def test_no_name_becomes_markup(client: Client, owner: User, status: str):
    request = rows.IN_STATUS[status](owner, description=HOSTILE, filename=HOSTILE)
    for address in (door("page", request), "/exports/"):
        page = check_page(client.get(address).content.decode())
        assert page.states[0]["title"] == HOSTILE
        assert not page.all("b")


def bar_of(client: Client, request: FileRequest) -> dict[str, str | None]:
    return Page(client.get(door("page", request)).content.decode()).all("progress")[0]


def test_the_bar_is_as_long_as_the_work_that_is_done(client: Client, owner: User, settings: LazySettings):
    settings.LANGUAGE_CODE = "de"
    request, claim = rows.claimed(owner)
    assert bar_of(client, request)["value"] == "0.0"
    assert transitions.renew_lease(claim, rows.progress(900), began_phase=True, moved=True)
    value = bar_of(client, request)["value"]
    assert 0.3 < float(value) < 0.5
    assert transitions.renew_lease(claim, rows.progress(900, None), began_phase=False, moved=True)
    assert "value" not in bar_of(client, request)
    assert rows.publish(claim)
    assert bar_of(client, request)["value"] == "1"


def test_a_total_that_is_an_estimate_is_said_to_be_one(client: Client, owner: User):
    request, claim = rows.claimed(owner)
    estimated = Snapshot(WRITING, 900, 2_003_417, rows_estimated=True)
    assert transitions.renew_lease(claim, estimated, began_phase=True, moved=True)
    page = client.get(door("page", request)).content.decode()
    assert "Writing rows: 900 of about 2,000,000" in page
    assert 'data-part="percent">about 1%<' in page


def test_the_receipt_of_rows_that_nobody_counted_says_so(client: Client, owner: User):
    request, claim = rows.claimed(owner)
    receipt = {"rows_asked": None, "rows": 7, "alterations": {}, "language": "en", "time_zone": "UTC", "sha256": "ab"}
    assert transitions.publish(claim, ExportResult("a.csv", "text/csv", 7, receipt, size=1, sha256="ab"))
    page = client.get(door("page", request)).content.decode()
    assert "<dt>Rows asked for</dt><dd>not counted beforehand</dd>" in page


def test_an_estimate_is_rounded_to_three_digits(owner: User):
    for rows_total, shown in ((0, 0), (7, 7), (999, 999), (1234, 1230), (336_776, 337_000), (999_999, 1_000_000)):
        assert render("{{ rows|rounded }}", owner, rows=rows_total).text == str(shown)


def test_the_receipt_says_what_was_altered(client: Client, owner: User):
    page = client.get(door("page", rows.ready(owner))).content.decode()
    assert "<dt>Rows written</dt><dd>2000</dd>" in page
    assert rows.ready(owner).sha256 in page
    assert "control" in page.lower()


def test_a_failure_says_why_in_words_and_keeps_the_detail_to_itself(client: Client, owner: User):
    page = client.get(door("page", rows.failed(owner))).content.decode()
    assert "There is no room for the file." in page
    assert "secret detail" not in page


# The mails


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_a_mail_is_whole_and_leads_to_the_page_behind_the_login(owner: User, status: str):
    request = rows.IN_STATUS[status](owner, description=HOSTILE + "\r\nBcc: everybody@example.com")
    mail = notifications.compose(request, Notification.objects.get(request=request))
    [(html, kind)] = mail.alternatives
    page, address = Page(html), f"https://exports.example{door('page', request)}"
    assert kind == "text/html"
    check_no_inline_code(page)
    assert [link["href"] for link in page.all("a")] == [address]
    assert address in mail.body
    assert "\n" not in mail.subject
    assert mail.message()["Bcc"] is None
    assert "/exports/file/" not in mail.body + html
    assert not page.all("b", "script")
    assert HOSTILE in mail.subject


def test_a_mail_says_how_big_the_file_is_and_until_when_it_is_there(owner: User):
    request = rows.ready(owner)
    body = notifications.compose(request, Notification.objects.get(request=request)).body
    assert "report.csv" in body
    assert "KB" in body
    assert str(request.expires_at.year) in body


def test_a_mail_of_a_failure_says_why(owner: User):
    request = rows.failed(owner)
    body = notifications.compose(request, Notification.objects.get(request=request)).body
    assert "There is no room for the file." in body
    assert "secret detail" not in body


# The tags


def render(text: str, user: User | AnonymousUser, **context: Any) -> Page:
    """A piece of a host's page."""
    http_request = RequestFactory().get("/")
    http_request.user = user
    return Page(Template("{% load exports %}" + text).render(RequestContext(http_request, {"user": user, **context})))


def test_a_host_shows_the_form_of_an_export_anywhere(owner: User):
    page = render('{% export_form "report" %}', owner)
    assert [form["action"] for form in page.all("form")] == [FORM]
    assert [button["value"] for button in page.all("button")] == ["csv", "xlsx"]
    assert "Export CSV" in page.text
    assert "Export Excel" in page.text
    check_forms(page)
    check_labels(page)


def test_a_host_shows_a_form_that_it_has_filled(owner: User):
    page = render('{% export_form "report" form=mine %}', owner, mine=MonthForm({"month": "7"}))
    assert "7" in [field.get("value") for field in page.all("input")]


def test_a_host_shows_the_newest_exports_of_a_user(owner: User):
    requests = [rows.queued(owner) for _ in range(7)]
    rows.queued(people.user("other"))
    shown = [each["export-id"] for each in render("{% export_list user %}", owner).all("export-progress")]
    assert shown == [str(request.pk) for request in reversed(requests[2:])]
    assert len(render("{% export_list user count=2 %}", owner).all("export-progress")) == 2


def test_whoever_is_not_signed_in_sees_no_export_not_even_one_without_an_owner():
    rows.ready(None)
    page = render("{% export_list user %}", AnonymousUser())
    assert page.all("export-progress") == []


def test_the_first_render_is_the_state_of_the_protocol(owner: User):
    request = rows.running(owner)
    [state] = render("{% export_list user %}", owner).states
    assert state == json.loads(json.dumps(serialize(request)))


def test_the_head_of_a_page_gets_the_stylesheet_and_the_script(owner: User):
    page = render("{% export_assets %}", owner)
    assert [link["href"] for link in page.all("link")] == ["/static/exports/exports.css"]
    assert page.all("script") == [{"type": "module", "src": "/static/exports/exports.js"}]


def test_an_alteration_is_told_in_words_and_one_that_is_not_known_by_its_name(owner: User):
    with translation.override("en"):
        page = render('{{ "control_characters"|alteration }}, {{ "some_other_kind"|alteration }}', owner)
    assert page.text.endswith(", some other kind")
    assert "_" not in page.text

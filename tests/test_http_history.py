"""The list of a user's exports: search, filter, sort and group it, delete one, clear what ended."""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from exports import services
from exports.exceptions import LimitReached, TransitionNotAllowed
from exports.http.pages import Place
from exports.models import Actor, AuditEntry, FileRequest, Status, transitions
from exports.models.quotas import check_quota
from tests.shop.requests import claimed, in_status, made, user

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

LIST = "/exports/"


@pytest.fixture
def ada(client: Client) -> Client:
    client.force_login(user("ada"))
    return client


def own(status: Status = Status.READY, **columns: Any) -> FileRequest:
    return in_status(status, **{"requester": user("ada"), "requested_at": timezone.now(), **columns})


def listed(client: Client, query: str = "") -> list[str]:
    """Return the titles of the exports that the list has, as a program reads it."""
    answer = client.get(f"{LIST}?{query}", headers={"Accept": "application/json"})
    return [state["title"] for state in answer.json()["exports"]]


def test_the_list_has_the_own_exports_newest_first(ada: Client) -> None:
    own(description="Old", requested_at=timezone.now() - timedelta(days=2))
    own(description="New")
    in_status(Status.READY, requester=user("grace"), description="Other")
    assert listed(ada) == ["New", "Old"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=jan", ["A"]),
        ("q=B.csv", ["B"]),
        ("status=failed", ["B"]),
        ("status=active", ["C"]),
        ("type=orders", ["C", "B", "A"]),
        ("type=none-such", ["C", "B", "A"]),
        ("sort=oldest", ["A", "B", "C"]),
        ("sort=size", ["A", "C", "B"]),
        ("status=nonsense&page=99", ["C", "B", "A"]),
    ],
)
def test_the_list_can_be_searched_filtered_and_sorted(ada: Client, query: str, expected: list[str]) -> None:
    now = timezone.now()
    own(description="A", label="January", size=5, requested_at=now - timedelta(hours=3))
    own(Status.FAILED, description="B", filename="b.csv", requested_at=now - timedelta(hours=2))
    own(Status.QUEUED, description="C", requested_at=now - timedelta(hours=1))
    if "size" in query:
        FileRequest.objects.filter(description="C").update(size=1)
    assert listed(ada, query) == expected


@pytest.mark.parametrize("sort", ["", "sort=oldest"])
def test_no_export_is_on_two_pages_or_on_none_while_others_are_requested(ada: Client, sort: str) -> None:
    now = timezone.now()
    for number in range(85):
        # Up to four of one moment.
        own(requested_at=now - timedelta(hours=number // 4 + 1))
    newest_first = [each.pk for each in FileRequest.objects.order_by("-requested_at", "-pk")]
    expected = newest_first[::-1] if sort else newest_first

    def page(query: str) -> tuple[list[Any], Any]:
        shown = ada.get(f"{LIST}?{query}").context
        own(requested_at=now if not sort else now - timedelta(days=9))
        return [UUID(state["id"]) for state in shown["exports"]], shown

    pages, shown = [], page(sort)
    while shown[1]["page"].has_next() and len(pages) < 5:
        pages.append(shown[0])
        shown = page(shown[1]["older"])
    walked = [pk for each in pages for pk in each]
    assert walked[:80] == expected[:80]

    back = []
    while shown[1]["page"].number > 2:
        shown = page(shown[1]["newer"])
        back.append(shown[0])
    assert back[:3] == pages[:0:-1][:3]
    assert "before" not in shown[1]["newer"]


@pytest.mark.parametrize("place", ["", "x", "MjAyNiBh", "%00", "after=&before=x"])
def test_a_place_that_is_none_leaves_the_page_to_its_number(ada: Client, place: str) -> None:
    for number in range(25):
        own(description=str(number), requested_at=timezone.now() - timedelta(hours=number))
    assert listed(ada, f"page=2&after={place}") == ["20", "21", "22", "23", "24"]


def test_a_place_is_found_by_the_index_of_the_history(ada: Client) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("The plan is that of PostgreSQL.")
    exports = [own(requested_at=timezone.now() - timedelta(hours=number)) for number in range(30)]
    rows = FileRequest.objects.owned_by(user("ada")).order_by("-requested_at", "-pk")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = rows.filter(Place.of(exports[9]).earlier())[:20].explain()
    # Which of the two that begin with the time or its owner is a matter of statistics.
    assert re.search(r"Index Cond: .*requested_at <=", plan), plan


def test_types_of_one_title_are_told_apart_in_the_filter(ada: Client) -> None:
    for file_type in ("exports.queryset", "exports.rows", "weather"):
        own(file_type=file_type)
    shown = [str(name) for _, name in ada.get(LIST).context["chosen"].fields["type"].choices]
    assert shown == ["All", "Lists of pages (exports.queryset)", "Lists of pages (exports.rows)", "Weather"]


def test_the_page_groups_by_day_and_works_without_javascript(ada: Client) -> None:
    own(description="Newer")
    own(description="Older", requested_at=timezone.now() - timedelta(days=1))
    page = ada.get(LIST).text
    assert page.index("Today</h2>") < page.index("Newer") < page.index("Yesterday</h2>") < page.index("Older")
    assert 'data-part="delete" method="post" action="/exports/' in page


def test_deleting_an_export_ends_its_links_and_removes_it_from_every_page(ada: Client) -> None:
    export = own()
    ticket, _ = services.sign_ticket(user("ada"), export)
    answer = ada.post(f"{LIST}{export.pk}/delete/")
    assert (answer.status_code, answer["Location"]) == (303, LIST)
    export.refresh_from_db()
    assert (export.status, export.removed_at is not None) == (Status.EXPIRED, True)
    assert listed(ada) == []
    for url in (f"{LIST}{export.pk}/", f"{LIST}{export.pk}/page/", ticket):
        assert ada.get(url).status_code == 404
    entry = AuditEntry.objects.get(verb=AuditEntry.Verb.REMOVE)
    assert (entry.export_id, entry.user_id, entry.outcome) == (export.pk, user("ada").pk, "done")


def test_an_export_that_runs_cannot_be_deleted(ada: Client) -> None:
    export = own(Status.RUNNING)
    answer = ada.post(f"{LIST}{export.pk}/delete/", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "too_late")
    with pytest.raises(TransitionNotAllowed):
        services.remove(export, Actor.of(user("ada")))


def test_an_export_that_became_ready_since_it_was_read_is_not_deleted() -> None:
    export, claim = claimed()
    read_before = FileRequest.objects.get(pk=export.pk)
    assert transitions.publish(claim, made())
    assert not transitions.remove(read_before)
    export.refresh_from_db()
    assert (export.status, export.removed_at) == (Status.READY, None)


def test_an_export_of_another_user_cannot_be_deleted(ada: Client) -> None:
    export = in_status(Status.READY, requester=user("grace"))
    assert ada.post(f"{LIST}{export.pk}/delete/").status_code == 404
    export.refresh_from_db()
    assert (export.status, export.removed_at) == (Status.READY, None)


def test_clearing_deletes_what_ended_without_a_file(ada: Client) -> None:
    for status in Status:
        own(status, description=str(status))
    other = in_status(Status.FAILED, requester=user("grace"))
    assert ada.post(f"{LIST}clear/", headers={"Accept": "application/json"}).json() == {"removed": 3}
    assert sorted(listed(ada)) == ["queued", "ready", "running"]
    other.refresh_from_db()
    assert other.removed_at is None


def test_a_deleted_export_still_counts_toward_the_quota(ada: Client, settings: Any) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "MAX_PER_USER_PER_DAY": 1}
    export = own(counts_toward_quota=True)
    services.remove(export, Actor.of(user("ada")))
    with pytest.raises(LimitReached):
        check_quota(FileRequest(requester=user("ada")))

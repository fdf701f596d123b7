"""The row itself: what save() writes and leaves alone, the order of the queue, who may see and change what."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models.functions import Now

from exports import storage
from exports.models import Artifact, Download, FileRequest, Status, transitions
from exports.models.request import AnyUser
from exports.models.scheduling import queue_position
from tests.shop.requests import NOON, after, changes, claimed, in_status, made, queued, row, user

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

NOWHERE = AnonymousUser()


def cancelled(request: FileRequest) -> None:
    assert transitions.cancel(request, now=after(1))


def published(request: FileRequest) -> None:
    _, claim = claimed(FileRequest.objects.get(pk=request.pk))
    assert transitions.publish(claim, made(), now=after(1))


def revoked(request: FileRequest) -> None:
    published(request)
    assert transitions.revoke_links(request)


def granted(name: str, *codenames: str) -> User:
    member = user(name)
    member.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return member


# save()


@pytest.mark.parametrize("move", [cancelled, published, revoked])
def test_a_stale_instance_undoes_nothing_of_a_move(move: Callable[[FileRequest], None]) -> None:
    stale = queued()
    move(stale)
    before = row(stale.pk)

    stale.description = "Another title"
    stale.save()

    assert changes(before, row(stale.pk)) == {"description": "Another title"}


def test_what_the_caller_assigned_to_an_engine_column_is_not_written() -> None:
    request = queued()
    before = row(request.pk)
    for name in FileRequest.ENGINE_COLUMNS:
        setattr(request, name, getattr(FileRequest(), name))
    request.status, request.epoch, request.seq = Status.READY, 9, 9

    request.save()
    request.save(update_fields=["status", "epoch", "seq"])

    assert row(request.pk) == before


def test_a_column_that_the_caller_changed_is_written_even_over_a_move() -> None:
    stale = queued()
    published(stale)

    stale.filename = "mine.csv"
    stale.save()

    assert row(stale.pk)["filename"] == "mine.csv"


def test_only_the_named_columns_are_written_where_the_caller_names_them() -> None:
    request = queued()
    request.filename, request.description = "a.csv", "A"

    request.save(update_fields=["filename"])

    assert (row(request.pk)["filename"], row(request.pk)["description"]) == ("a.csv", "")


def test_what_was_not_named_is_still_written_by_the_next_save() -> None:
    request = queued()
    request.filename, request.description = "a.csv", "A"

    request.save(update_fields=["filename"])
    request.save()

    assert row(request.pk)["description"] == "A"


def test_an_instance_without_changes_writes_nothing(django_assert_num_queries: Any) -> None:
    request = FileRequest.objects.get(pk=queued().pk)

    with django_assert_num_queries(0):
        request.save()


def test_a_change_inside_a_mutable_value_is_a_change() -> None:
    request = queued(options={"formulas": "raw", "nested": {"a": [1]}})

    request.options["nested"]["a"].append(2)
    request.save()

    assert row(request.pk)["options"] == {"formulas": "raw", "nested": {"a": [1, 2]}}


def test_saving_twice_writes_a_change_and_its_reversal() -> None:
    request = queued(description="A")

    request.description = "B"
    request.save()
    request.description = "A"
    request.save()

    assert row(request.pk)["description"] == "A"


def test_deferred_columns_are_neither_loaded_nor_written(django_assert_num_queries: Any) -> None:
    request = queued(description="A", filename="a.csv")
    partial = FileRequest.objects.only("description").get(pk=request.pk)
    published(request)
    before = row(request.pk)

    partial.description = "B"
    with django_assert_num_queries(1):
        partial.save()

    assert changes(before, row(request.pk)) == {"description": "B"}


def test_loading_a_deferred_column_forgets_no_change() -> None:
    request = FileRequest.objects.defer("criteria").get(pk=queued().pk)

    request.description = "B"
    assert request.criteria == ""
    request.save()

    assert row(request.pk)["description"] == "B"


def test_refreshing_one_column_forgets_no_change_of_another() -> None:
    request = queued()

    request.description = "B"
    request.refresh_from_db(fields=["status"])
    request.save()

    assert row(request.pk)["description"] == "B"


def test_refreshing_drops_the_changes() -> None:
    request = queued(description="A")
    request.description = "B"

    request.refresh_from_db()
    request.save()

    assert row(request.pk)["description"] == "A"


def test_a_refreshed_instance_knows_the_file_and_leaves_it_alone() -> None:
    request = queued()
    published(request)
    request.refresh_from_db()
    before = row(request.pk)

    request.expire_in(timedelta(hours=1), after(0))
    request.save()

    assert changes(before, row(request.pk)) == {"expires_at": after(3600)}


def test_an_insert_writes_every_column() -> None:
    request = FileRequest.objects.create(
        file_type="orders", status=Status.READY, epoch=4, receipt={"rows": 1}, finished_at=NOON, filehandle="a/b.csv"
    )

    written = row(request.pk)
    assert (written["status"], written["epoch"], written["receipt"]) == ("ready", 4, {"rows": 1})
    assert (written["finished_at"], written["filehandle"]) == (NOON, "a/b.csv")


def test_a_copy_with_a_new_key_is_inserted_whole() -> None:
    request = FileRequest.objects.get(pk=queued(description="A").pk)

    request.pk = FileRequest().pk
    request.save(force_insert=True)

    assert row(request.pk)["description"] == "A"
    assert FileRequest.objects.count() == 2


def test_an_instance_that_came_by_bulk_create_can_be_saved() -> None:
    [request] = FileRequest.objects.bulk_create([FileRequest(file_type="orders")])
    cancelled(request)

    request.description = "B"
    request.save()

    written = row(request.pk)
    assert (written["description"], written["status"]) == ("B", "cancelled")


def test_a_file_that_the_caller_assigns_is_stored_and_written() -> None:
    request = queued()

    request.filehandle.save("by-hand.csv", ContentFile(b"1,2\r\n"))

    assert row(request.pk)["filehandle"] == request.filehandle.name
    with storage.open_file(request.filehandle.name) as file:
        assert file.read() == b"1,2\r\n"
    storage.delete(request.filehandle.name)


def test_the_expiry_is_set_from_now_or_from_a_moment_and_not_saved() -> None:
    request = queued()

    request.expire_in(timedelta(days=1), NOON)

    assert request.expires_at == after(86400)
    assert row(request.pk)["expires_at"] is None


def test_it_says_what_was_requested_when_and_by_whom() -> None:
    assert str(queued()) == "orders requested at 2026-06-01 12:00:00+00:00 by ada"


# delete()


@pytest.mark.django_db(transaction=True)
def test_deleting_a_request_deletes_its_file() -> None:
    request = in_status(Status.READY)
    kept = storage.exports_storage()
    kept.save(request.filehandle.name, ContentFile(b"abc"))

    request.delete()

    assert not kept.exists(request.filehandle.name)
    assert not FileRequest.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_deletion_that_is_rolled_back_keeps_the_file() -> None:
    request = in_status(Status.READY)
    key = request.filehandle.name
    storage.exports_storage().save(key, ContentFile(b"abc"))

    with transaction.atomic():
        request.delete()
        transaction.set_rollback(True)

    assert storage.exports_storage().exists(key)
    FileRequest.objects.get().delete()


def test_the_key_of_a_deleted_request_stays_known_until_the_bytes_are_gone() -> None:
    request = in_status(Status.READY)
    key = request.filehandle.name

    User.objects.all().delete()

    assert not FileRequest.objects.exists()
    assert list(Artifact.objects.values_list("key", "request")) == [(key, None)]


def test_the_trail_of_downloads_outlives_request_and_user() -> None:
    request = in_status(Status.READY)
    Download.objects.create(request=request, user=request.requester, file_type="orders", byte_count=3)

    User.objects.all().delete()

    assert str(Download.objects.get()).startswith("3 bytes of orders at ")


# The queue


def test_unfinished_requests_are_handled_oldest_first() -> None:
    late, early = queued(requested_at=after(9)), queued(requested_at=after(1))
    FileRequest.objects.create(file_type="orders", finished_at=NOON)
    in_status(Status.READY)

    assert list(FileRequest.objects.to_handle()) == [early, late]


def test_requests_are_listed_newest_first() -> None:
    early, late = queued(requested_at=after(1)), queued(requested_at=after(9))

    assert list(FileRequest.objects.all()) == [late, early]


def test_whoever_has_the_fewest_running_is_next_and_then_the_oldest() -> None:
    ada, bob = user("ada"), user("bob")
    in_status(Status.RUNNING, requester=ada)
    first_of_ada = queued(requester=ada, requested_at=after(1))
    first_of_bob = queued(requester=bob, requested_at=after(2))
    second_of_bob = queued(requester=bob, requested_at=after(3))

    turns = FileRequest.objects.filter(status=Status.QUEUED).in_fair_order()

    assert list(turns) == [first_of_bob, second_of_bob, first_of_ada]
    # But when the one worker is free again, nothing of Ada's runs any more, and hers has waited longest.
    assert [queue_position(each) for each in (first_of_ada, first_of_bob, second_of_bob)] == [1, 2, 3]


def test_running_requests_of_nobody_in_particular_hold_nobody_back() -> None:
    in_status(Status.RUNNING, requester=None)
    anonymous = queued(requester=None, requested_at=after(1))
    of_ada = queued(requested_at=after(2))

    assert list(FileRequest.objects.filter(status=Status.QUEUED).in_fair_order()) == [anonymous, of_ada]


def test_a_worker_is_given_due_requests_of_its_lane_and_of_known_types_only() -> None:
    queued(queue_name="small")
    queued(file_type="unheard-of")
    _, claim = claimed()
    transitions.retry_later(claim, delay=3600, code="", detail="")
    FileRequest.objects.create(file_type="orders", finished_at=NOON)
    assert FileRequest.objects.next_due("large", {"orders": object}.keys()) is None

    mine = queued(requested_at=after(99))

    assert FileRequest.objects.next_due("large", {"orders": object}.keys()) == mine


def test_places_are_counted_in_the_lane_of_the_request() -> None:
    queued(queue_name="small")
    mine = queued(queue_name="large", requested_at=after(1))

    assert queue_position(mine) == 1


@pytest.mark.parametrize("status", [status for status in Status.values if status != Status.QUEUED])
def test_only_a_waiting_request_has_a_place(status: str) -> None:
    assert queue_position(in_status(status)) is None


def test_a_request_that_is_gone_has_no_place() -> None:
    request = queued()
    FileRequest.objects.all().delete()

    assert queue_position(request) is None


def test_abandoned_is_a_running_request_whose_lease_has_ended() -> None:
    request, _ = claimed(now=NOON)
    in_status(Status.READY)

    assert list(FileRequest.objects.abandoned(Now())) == [request]
    assert not FileRequest.objects.abandoned(NOON).exists()


# Garbage


def artifact(request: FileRequest | None, epoch: int, state: str, key: str = "k") -> Artifact:
    return Artifact.objects.create(request=request, epoch=epoch, key=f"{key}-{epoch}-{state}", state=state)


def garbage(leeway_ends: Any = NOON) -> set[str]:
    return set(Artifact.objects.deletable(leeway_ends).values_list("key", flat=True))


def test_the_file_of_a_ready_request_is_no_garbage() -> None:
    in_status(Status.READY)

    assert garbage() == set()


def test_what_a_running_worker_writes_is_no_garbage() -> None:
    in_status(Status.RUNNING)

    assert garbage() == set()


@pytest.mark.parametrize("state", ["staged", "published"])
@pytest.mark.parametrize("status", [Status.QUEUED, Status.READY, Status.FAILED, Status.CANCELLED, Status.EXPIRED])
def test_what_another_attempt_has_written_is_garbage(status: str, state: str) -> None:
    left = artifact(in_status(status), 0, state)

    assert left.key in garbage()


def test_what_an_earlier_attempt_has_written_is_garbage_while_the_next_one_runs() -> None:
    request, first = claimed()
    assert transitions.rescue(request, now=after(1000))
    request.refresh_from_db()
    _, second = claimed(request, now=after(1001))

    assert garbage() == {first.key}
    assert second.key not in garbage()


def test_the_file_of_an_expired_request_is_garbage_after_the_leeway() -> None:
    request = in_status(Status.EXPIRED)

    assert garbage(leeway_ends=request.expires_at) == set()
    assert garbage(leeway_ends=request.expires_at + timedelta(microseconds=1)) == {request.filehandle.name}


def test_bytes_without_a_request_are_garbage_and_deleted_ones_are_not() -> None:
    left = artifact(None, 1, "published")
    artifact(None, 2, "deleted")

    assert garbage() == {left.key}


# Who may


def sees(who: AnyUser, request: FileRequest) -> bool:
    return request in FileRequest.objects.visible_to(who)


def test_people_see_their_own_requests_and_staff_with_the_permission_see_all() -> None:
    of_ada, of_bob = queued(requester=user("ada")), queued(requester=user("bob"))
    viewer = granted("eve", "view_filerequest")

    assert list(FileRequest.objects.visible_to(user("ada"))) == [of_ada]
    assert set(FileRequest.objects.visible_to(viewer)) == {of_ada, of_bob}
    assert not FileRequest.objects.visible_to(NOWHERE).exists()
    assert [sees(each, of_ada) for each in (user("ada"), user("bob"), viewer, NOWHERE)] == [
        True, False, True, False,
    ]  # fmt: skip


def test_somebody_who_is_no_longer_active_sees_nothing() -> None:
    request = queued(requester=user("ada"))
    gone = user("ada")
    gone.is_active = False

    assert not FileRequest.objects.visible_to(gone).exists()
    assert not sees(gone, request)
    assert not request.is_changeable_by(gone)
    assert not request.is_downloadable_by(gone)


def test_a_request_of_nobody_is_nobodys() -> None:
    request = queued(requester=None)

    assert not sees(NOWHERE, request)
    assert not request.is_downloadable_by(NOWHERE)
    assert not sees(user("ada"), request)


@pytest.mark.parametrize(
    ("codenames", "may_change", "may_download"),
    [
        ((), False, False),
        (("view_filerequest",), False, False),
        (("change_filerequest",), False, False),
        (("view_filerequest", "change_filerequest"), True, False),
        (("view_filerequest", "download_any_filerequest"), False, True),
    ],
)
def test_what_is_not_ones_own_takes_a_permission_for_each_thing(
    codenames: tuple[str, ...], may_change: bool, may_download: bool
) -> None:
    request = queued(requester=user("ada"))
    member = granted("eve", *codenames)

    assert request.is_changeable_by(member) is may_change
    assert request.is_downloadable_by(member) is may_download

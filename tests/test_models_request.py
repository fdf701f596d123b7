"""FileRequest and Artifact: what save() writes, the queue's order, who may see what, which files may be deleted."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.files.base import ContentFile
from django.db import transaction

from exports import storage
from exports.models import Artifact, FileRequest, Status, transitions
from exports.models.request import AnyUser
from tests.office import rows
from tests.shop.requests import NOON, after, changes, claimed, in_status, made, queued, row, user

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

ANONYMOUS = AnonymousUser()


def cancelled(export: FileRequest) -> None:
    assert transitions.cancel(export, now=after(1))


def published(export: FileRequest) -> None:
    _, claim = claimed(FileRequest.objects.get(pk=export.pk))
    assert transitions.publish(claim, made(), now=after(1))


def revoked(export: FileRequest) -> None:
    published(export)
    assert transitions.revoke_links(export)


def granted(name: str, *codenames: str) -> User:
    member = user(name)
    member.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return member


# save()


@pytest.mark.parametrize("change", [cancelled, published, revoked])
def test_saving_a_stale_instance_undoes_no_transition(change: Callable[[FileRequest], None]) -> None:
    stale = queued()
    change(stale)
    before = row(stale.pk)
    stale.description = "Another title"
    stale.save()
    assert changes(before, row(stale.pk)) == {"description": "Another title"}


def test_values_assigned_to_engine_columns_are_not_saved() -> None:
    export = queued()
    before = row(export.pk)
    for name in FileRequest.TRANSITION_COLUMNS:
        setattr(export, name, getattr(FileRequest(), name))
    export.status, export.epoch, export.seq = Status.READY, 9, 9

    export.save()
    export.save(update_fields=["status", "epoch", "seq"])

    assert row(export.pk) == before


def test_a_changed_column_is_saved_even_after_a_transition_wrote_it() -> None:
    stale = queued()
    published(stale)
    stale.filename = "mine.csv"
    stale.save()
    assert row(stale.pk)["filename"] == "mine.csv"


def test_update_fields_saves_those_and_the_next_save_saves_the_rest() -> None:
    export = queued()
    export.filename, export.description = "a.csv", "A"
    export.save(update_fields=["filename"])
    assert (row(export.pk)["filename"], row(export.pk)["description"]) == ("a.csv", "")
    export.save()
    assert row(export.pk)["description"] == "A"


def test_saving_without_changes_runs_no_query(django_assert_num_queries: Any) -> None:
    export = FileRequest.objects.get(pk=queued().pk)
    with django_assert_num_queries(0):
        export.save()


def test_a_change_inside_a_mutable_value_and_its_reversal_are_saved() -> None:
    export = queued(options={"formulas": "raw", "nested": {"a": [1]}})
    for change in (lambda values: values.append(2), list.pop):
        change(export.options["nested"]["a"])
        export.save()
        assert row(export.pk)["options"] == export.options


def test_deferred_columns_are_neither_loaded_nor_saved(django_assert_num_queries: Any) -> None:
    export = queued(description="A", filename="a.csv")
    partial = FileRequest.objects.only("description").get(pk=export.pk)
    published(export)
    before = row(export.pk)

    partial.description = "B"
    with django_assert_num_queries(1):
        partial.save()

    assert changes(before, row(export.pk)) == {"description": "B"}


@pytest.mark.parametrize(
    "load", [lambda export: export.criteria, lambda export: export.refresh_from_db(fields=["status"])]
)
def test_loading_one_column_keeps_changes_of_others(load: Callable[[FileRequest], Any]) -> None:
    export = FileRequest.objects.defer("criteria").get(pk=queued().pk)
    export.description = "B"
    load(export)
    export.save()
    assert row(export.pk)["description"] == "B"


def test_refreshing_drops_unsaved_changes() -> None:
    export = queued(description="A")
    export.description = "B"
    export.refresh_from_db()
    export.save()
    assert row(export.pk)["description"] == "A"


def test_an_insert_and_a_copy_with_a_new_key_write_every_column() -> None:
    given = {"status": Status.READY, "epoch": 4, "receipt": {"rows": 1}, "finished_at": NOON, "filehandle": "a/b.csv"}
    export = FileRequest.objects.create(file_type="orders", **given)
    assert row(export.pk) == row(export.pk) | given
    first, export.pk = row(export.pk), FileRequest().pk
    export.save(force_insert=True)
    assert row(export.pk) == first | {"id": export.pk}


def test_an_instance_from_bulk_create_can_be_saved() -> None:
    [export] = FileRequest.objects.bulk_create([FileRequest(file_type="orders")])
    cancelled(export)
    export.description = "B"
    export.save()
    assert (row(export.pk)["description"], row(export.pk)["status"]) == ("B", "cancelled")


def test_a_file_saved_through_the_field_is_stored() -> None:
    export = queued()
    export.filehandle.save("mine.csv", ContentFile(b"1,2\r\n"))
    assert row(export.pk)["filehandle"] == export.filehandle.name
    with storage.open_file(export.filehandle.name) as file:
        assert file.read() == b"1,2\r\n"
    storage.delete(export.filehandle.name)


def test_expire_in_sets_the_expiry_without_saving() -> None:
    export = queued()
    export.expire_in(timedelta(days=1), NOON)
    assert export.expires_at == after(86400)
    assert row(export.pk)["expires_at"] is None


def test_str_names_the_type_the_time_and_the_user() -> None:
    assert str(queued()) == f"orders requested at {NOON} by ada"


# delete()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_committed", [True, False])
def test_a_committed_deletion_deletes_the_file(is_committed: bool) -> None:
    export = in_status(Status.READY)
    key = export.filehandle.name
    storage.exports_storage().save(key, ContentFile(b"abc"))

    with transaction.atomic():
        export.delete()
        transaction.set_rollback(not is_committed)

    assert storage.exports_storage().exists(key) is not is_committed
    assert FileRequest.objects.exists() is not is_committed
    storage.delete(key)


def test_artifacts_and_audit_entries_outlive_the_request_and_its_user() -> None:
    export = in_status(Status.READY)
    owner, download = export.requester_id, rows.downloaded(export)
    User.objects.all().delete()
    assert not FileRequest.objects.exists()
    assert list(Artifact.objects.values_list("key", "request")) == [(export.filehandle.name, None)]
    download.refresh_from_db()
    assert (download.export_id, download.user_id) == (export.pk, owner)


# The queue


def test_requests_are_listed_newest_first_and_handled_oldest_first() -> None:
    late, early = queued(requested_at=after(9)), queued(requested_at=after(1))
    assert list(FileRequest.objects.all()) == [late, early]
    FileRequest.objects.create(file_type="orders", finished_at=NOON)
    in_status(Status.READY)
    assert list(FileRequest.objects.to_handle()) == [early, late]


def test_each_anonymous_request_counts_as_a_separate_owner() -> None:
    in_status(Status.RUNNING, requester=None)
    anonymous = queued(requester=None, requested_at=after(1))
    of_ada = queued(requested_at=after(2))
    assert list(FileRequest.objects.filter(status=Status.QUEUED).in_turn()) == [anonymous, of_ada]


# Deletable files


def deletable(kept_since: Any = NOON) -> set[str]:
    return set(Artifact.objects.deletable(kept_since).values_list("key", flat=True))


@pytest.mark.parametrize("state", ["staged", "published"])
@pytest.mark.parametrize("status", Status.values)
def test_only_the_files_of_earlier_attempts_are_deletable(status: str, state: str) -> None:
    export = in_status(status)
    assert deletable() == set()
    old = Artifact.objects.create(request=export, epoch=0, key="old", state=state)
    assert deletable() == {old.key}


def test_an_expired_file_is_deletable_after_the_delay() -> None:
    export = in_status(Status.EXPIRED)
    assert deletable(kept_since=export.expires_at) == set()
    assert deletable(kept_since=export.expires_at + timedelta(microseconds=1)) == {export.filehandle.name}


def test_a_file_without_a_request_is_deletable_once() -> None:
    for state in ("published", "deleted"):
        Artifact.objects.create(epoch=1, key=state, state=state)
    assert deletable() == {"published"}


# Permissions


def test_users_see_their_own_requests_and_staff_see_all() -> None:
    of_ada, of_bob = queued(requester=user("ada")), queued(requester=user("bob"))
    anonymous = queued(requester=None)

    def seen_by(who: AnyUser) -> set[FileRequest]:
        return set(FileRequest.objects.visible_to(who))

    assert seen_by(user("ada")) == {of_ada}
    assert seen_by(user("bob")) == {of_bob}
    assert seen_by(granted("eve", "view_filerequest")) == {of_ada, of_bob, anonymous}
    assert seen_by(ANONYMOUS) == set()
    assert not anonymous.is_downloadable_by(ANONYMOUS)


def test_a_deactivated_user_sees_and_may_do_nothing() -> None:
    export, deactivated = queued(requester=user("ada")), user("ada")
    deactivated.is_active = False
    assert not FileRequest.objects.visible_to(deactivated).exists()
    assert not export.is_changeable_by(deactivated)
    assert not export.is_downloadable_by(deactivated)


VIEW, CHANGE, DOWNLOAD = "view_filerequest", "change_filerequest", "download_any_filerequest"


@pytest.mark.parametrize("codenames", [(), (VIEW,), (CHANGE,), (VIEW, CHANGE), (VIEW, DOWNLOAD)])
def test_another_users_request_needs_a_permission_for_each_action(codenames: tuple[str, ...]) -> None:
    export, member = queued(requester=user("ada")), granted("eve", *codenames)
    assert export.is_changeable_by(member) is (codenames == (VIEW, CHANGE))
    assert export.is_downloadable_by(member) is (codenames == (VIEW, DOWNLOAD))

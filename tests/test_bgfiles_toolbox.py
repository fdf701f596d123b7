"""The toolbox of dj-bgfiles: requests, files, signers and tokens."""

import asyncio
import json
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.signing import BadSignature, SignatureExpired
from django.db import transaction
from django.http import Http404
from django.test import RequestFactory
from django.utils import timezone, translation
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy

from exports import toolbox
from exports.exceptions import TransitionNotAllowed
from exports.models import Artifact, FileRequest, Status, transitions
from exports.toolbox import JSONSerializer, Signer
from tests.seed.files import (
    ID,
    OLD_COMPRESSED_TOKEN,
    OLD_GENERAL_TOKEN,
    OLD_TOKEN,
    attached,
    body_of,
    content_of,
    fresh,
)
from tests.seed.pages import Pages
from tests.shop.requests import queued, user
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db, pytest.mark.usefixtures("folder")]


# Requests


def test_add_request_stores_the_active_language_and_time_zone():
    lazy_user = SimpleLazyObject(lambda: user("ada"))
    with translation.override("nl"), timezone.override("Europe/Brussels"):
        request = toolbox.add_request("a=1", "events", lazy_user, "text/csv", gettext_lazy("Export"), filename="e.csv")
    row = fresh(request)
    assert (row.criteria, row.file_type, row.requester, row.content_type) == ("a=1", "events", user("ada"), "text/csv")
    assert (row.description, row.requester_language, row.requester_timezone) == ("Export", "nl", "Europe/Brussels")
    assert row.filename == "e.csv"
    assert (row.status, row.finished_at, row.expires_at, row.size) == (Status.QUEUED, None, None, None)
    assert timezone.now() - row.requested_at < timedelta(minutes=1)


@pytest.mark.parametrize(("active", "language", "tz"), [("en", "fr", "Asia/Tokyo"), ("en", "", ""), (None, None, "")])
def test_add_request_takes_a_language_and_a_time_zone(active: str | None, language: str | None, tz: str):
    with translation.override(active):
        request = toolbox.add_request(language=language, tz=tz)
    assert (request.requester_language, request.requester_timezone) == (language or "", tz)


@pytest.mark.parametrize("anonymous", [None, AnonymousUser(), SimpleLazyObject(AnonymousUser)])
def test_add_request_of_an_anonymous_user_has_no_requester(anonymous: Any):
    assert fresh(toolbox.add_request(requester=anonymous)).requester is None


@pytest.mark.django_db(transaction=True)
def test_pages_get_an_event_when_the_transaction_commits(settings: Any):
    settings.CHANNEL_LAYERS = Pages.LAYER
    pages = Pages()
    with transaction.atomic():
        request = toolbox.add_request(file_type="events", requester=user("ada"))
        assert pages.heard(request.pk) == []
    toolbox.attach_file(request, b"x", "x.csv")
    assert [state["status"] for state in pages.heard(request.pk)] == ["queued", "ready"]


# Files


@pytest.mark.parametrize(
    "contents", [ContentFile(b"id\r\n"), ContentFile("id\r\n"), File(BytesIO(b"id\r\n")), BytesIO(b"id\r\n"), b"id\r\n"]
)
def test_attach_file_takes_files_bytes_and_text(contents: Any):
    request = queued()
    toolbox.attach_file(request, contents, "events.csv")
    assert content_of(request) == b"id\r\n"


def test_attach_file_makes_the_request_ready_and_again_under_a_new_key():
    row = fresh(attached())
    first = row.filehandle.name
    assert (row.status, row.filename, row.content_type, row.size) == (Status.READY, "events.csv", "text/csv", None)
    assert timezone.now() - row.finished_at < timedelta(minutes=1)
    assert row.filehandle.name.startswith(f"generated/{row.pk}/1-")
    assert row.filehandle.name.endswith(".csv")
    assert not row.notifications.exists()
    toolbox.attach_file(row, ContentFile(b"second"))
    assert content_of(row) == b"second"
    assert [artifact.key for artifact in Artifact.objects.deletable(timezone.now())] == [first]


def test_attach_file_keeps_old_values_for_falsy_arguments():
    old, new = ("kept.csv", "text/csv", 7), ("new.tsv", "text/tsv", 9)
    request = queued(filename=old[0], content_type=old[1], size=old[2])
    for given, kept in ((("", "", 0), old), (new, new)):
        toolbox.attach_file(request, ContentFile(b"x"), *given)
        row = fresh(request)
        assert (row.filename, row.content_type, row.size) == kept


def test_attach_file_to_a_cancelled_request_raises():
    request = queued()
    transitions.cancel(fresh(request))
    with pytest.raises(TransitionNotAllowed):
        toolbox.attach_file(request, ContentFile(b"x"), "x.csv")
    row = fresh(request)
    assert (row.status, row.filename, row.filehandle.name) == (Status.CANCELLED, "", "")
    assert Artifact.objects.deletable(timezone.now()).count() == 1


def test_attach_local_file_copies_the_bytes(tmp_path: Path):
    path = tmp_path / "local.bin"
    path.write_bytes(bytes(range(256)))
    request = queued()
    toolbox.attach_local_file(request, str(path), "events.bin", "application/octet-stream", 256)
    assert (content_of(request), path.exists()) == (bytes(range(256)), True)
    assert (request.filename, request.content_type, request.size) == ("events.bin", "application/octet-stream", 256)


# Serving


def test_serve_sends_the_file_with_its_name_and_type_if_it_has_them():
    response = toolbox.serve(attached())
    assert (response.status_code, body_of(response)) == (200, b"id\r\n1\r\n")
    assert response["Content-Type"] == "text/csv"
    assert response["Content-Disposition"] == 'attachment; filename="events.csv"'
    request = queued()
    toolbox.attach_file(request, ContentFile(b"x"))
    for given, expected in (({}, "application/octet-stream"), ({"default_content_type": "text/plain"}, "text/plain")):
        response = toolbox.serve(request, **given)
        assert (response["Content-Type"], response["Content-Disposition"]) == (expected, "attachment")
        response.close()


class Missing(Exception):
    pass


def test_serve_raises_the_given_exception_for_a_missing_file():
    with pytest.raises(Http404):
        toolbox.serve(queued())
    with pytest.raises(Missing):
        toolbox.serve(queued(), raise_on_missing=Missing)
    expired = attached()
    transitions.expire(expired)
    with pytest.raises(Missing):
        toolbox.serve(fresh(expired), Missing)


def test_serve_answers_a_range_request():
    asked = RequestFactory().get("/", headers={"range": "bytes=0-1"})
    response = toolbox.serve(attached(), http_request=asked)
    assert (response.status_code, body_of(response)) == (206, b"id")


@pytest.mark.django_db(transaction=True)
def test_serve_streams_small_blocks_under_asgi(folder: Path):
    request = queued()
    toolbox.attach_file(request, ContentFile(b"\0" * (8 << 20)), "big.bin")
    response = toolbox.serve(request)

    async def sizes() -> list[int]:
        return [len(block) async for block in response]

    tracemalloc.start()
    blocks = asyncio.run(sizes())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    response.close()
    assert (sum(blocks), max(blocks) <= 1 << 18, peak < 4 << 20) == (8 << 20, True, True)


# Signers


def test_the_serializer_takes_uuids_dates_and_lazy_text():
    data = {"id": ID, "on": date(2016, 2, 4), "at": datetime(2016, 2, 4, 8, tzinfo=UTC), "é": gettext_lazy("x")}
    serializer = JSONSerializer()
    text = serializer.dumps(data)
    assert isinstance(text, bytes)
    assert serializer.loads(text) == {"id": str(ID), "on": "2016-02-04", "at": "2016-02-04T08:00:00Z", "é": "x"}


def test_a_signer_reads_only_its_own_tokens():
    signer = Signer(key="k", salt="s")
    token = signer.dump({"id": ID})
    assert signer.load(token) == {"id": str(ID)}
    for other in (Signer(key="k"), Signer(salt="s"), Signer(key="k2", salt="s")):
        with pytest.raises(BadSignature):
            other.load(token)


def test_a_compressed_token_is_shorter_and_reads_the_same_until_max_age():
    data = {"words": "x" * 500}
    token = Signer(compress=True).dump(data)
    assert len(token) < len(Signer().dump(data)) / 2
    assert Signer(max_age=60).load(token) == data
    with pytest.raises(SignatureExpired):
        Signer(max_age=-1).load(token)


def test_tokens_of_dj_bgfiles_can_still_be_read(settings: Any):
    settings.SECRET_KEY = "the-key-of-old"
    assert Signer().load(OLD_TOKEN) == {"extra": 1, "requester": 7, "id": str(ID)}
    assert Signer(key="the-key-of-old").load(OLD_GENERAL_TOKEN) == {"id": str(ID)}
    assert Signer(key="other", salt="salted").load(OLD_COMPRESSED_TOKEN)["words"] == "x" * 300
    with pytest.raises(SignatureExpired):
        Signer(max_age=-1).load(OLD_TOKEN)
    with pytest.raises(BadSignature):
        Signer().load(OLD_TOKEN[:-1] + "R")


class TwoWaySigner:
    """A signer that is no subclass of ours."""

    max_age = 60

    def load(self, token: str) -> Any:
        return json.loads(bytes.fromhex(token))

    def dump(self, data: Any) -> str:
        return json.dumps(data, default=str).encode().hex()


ready_made = TwoWaySigner()


def test_any_object_with_load_dump_and_max_age_is_a_signer():
    request = attached(requester=user("ada"))
    token = toolbox.create_token(request, signer=ready_made)
    assert toolbox.decode(token, signer=ready_made) == (request, {"requester": user("ada").pk, "id": str(request.pk)})
    assert request.expires_at - timezone.now() < timedelta(seconds=60)


def test_without_settings_the_signer_has_the_secret_key_and_its_fallbacks(settings: Any):
    signer = toolbox.get_default_signer()
    found = (signer.key, signer.salt, signer.serializer, signer.max_age)
    assert found == (settings.SECRET_KEY, "bgfiles", JSONSerializer, 86400)
    token = signer.dump({})
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "a-newer-one"
    assert toolbox.get_default_signer().load(token) == Signer().load(token) == {}
    with pytest.raises(BadSignature):
        Signer(key="my-key", salt="bgfiles").load(token)


def test_the_default_signer_is_made_from_the_settings_or_those_of_dj_bgfiles(settings: Any):
    settings.BGFILES_DEFAULT_KEY, settings.BGFILES_DEFAULT_SALT = "old-key", ""
    settings.BGFILES_DEFAULT_SERIALIZER, settings.BGFILES_DEFAULT_MAX_AGE = JSONSerializer, None
    signer = toolbox.get_default_signer()
    assert (signer.key, signer.salt, signer.max_age) == ("old-key", "", None)

    class Own(JSONSerializer):
        pass

    configure(settings, TOKEN_KEY="new", TOKEN_SALT="s", TOKEN_SERIALIZER=Own, TOKEN_MAX_AGE_SECONDS=7)
    signer = toolbox.get_default_signer()
    assert (signer.key, signer.salt, signer.serializer, signer.max_age) == ("new", "s", Own, 7)


@pytest.mark.parametrize("chosen", [ready_made, "tests.test_bgfiles_toolbox.ready_made"])
def test_a_signer_in_the_settings_wins(settings: Any, chosen: Any):
    settings.BGFILES_DEFAULT_SIGNER = chosen
    configure(settings, TOKEN_KEY="k")
    assert toolbox.get_default_signer() is ready_made


# Tokens


def test_a_token_contains_the_request_extra_data_and_a_requester_which_it_needs():
    request, data = attached(requester=user("ada")), {"extra": 1}
    token = toolbox.create_token(request, data)
    assert toolbox.decode(token) == (request, {"extra": 1, "requester": user("ada").pk, "id": str(request.pk)})
    assert data == {"extra": 1}
    with pytest.raises(RuntimeError):
        toolbox.create_token(attached(requester=None))


def test_a_general_token_contains_no_requester():
    request = attached(requester=user("ada"))
    token = toolbox.create_general_token(request, {"extra": 1})
    assert toolbox.decode(token, require_requester=False) == (request, {"extra": 1, "id": str(request.pk)})
    with pytest.raises(BadSignature):
        toolbox.decode(token)


@pytest.mark.parametrize("minted", [None, [], "text", {}, {"requester": 1}, {"id": None}])
def test_decode_rejects_a_signed_token_without_a_request_id(minted: Any):
    with pytest.raises((BadSignature, FileRequest.DoesNotExist)):
        toolbox.decode(Signer().dump(minted), require_requester=False)


@pytest.mark.parametrize("ids", [{"id": uuid4()}, {"id": "no-uuid"}, {"id": [1]}, {"requester": 10**6}])
def test_decode_raises_does_not_exist_for_unknown_ids(ids: dict[str, Any]):
    request = attached(requester=user("ada"))
    token = Signer().dump({"id": request.pk, "requester": user("ada").pk} | ids)
    with pytest.raises(FileRequest.DoesNotExist):
        toolbox.decode(token)


def test_decode_passes_on_the_errors_of_the_signer(settings: Any):
    token = toolbox.create_token(attached(requester=user("ada")))
    configure(settings, TOKEN_MAX_AGE_SECONDS=-1)
    with pytest.raises(SignatureExpired):
        toolbox.decode(token)
    with pytest.raises(BadSignature):
        toolbox.decode("nonsense")


def test_only_the_first_token_with_a_max_age_sets_the_expiry():
    request = attached()
    toolbox.create_general_token(request, signer=Signer())
    assert fresh(request).expires_at is None
    toolbox.create_general_token(request, signer=Signer(max_age=3600))
    decided = fresh(request).expires_at
    assert decided == request.expires_at
    assert timedelta(minutes=59) < decided - timezone.now() <= timedelta(hours=1)
    for max_age in (60, 10**6):
        toolbox.create_general_token(request, signer=Signer(max_age=max_age))
    assert fresh(request).expires_at == decided

"""The tokens of dj-bgfiles' toolbox: who signs them, what is in them, how long they live."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.signing import BadSignature, SignatureExpired
from django.utils import timezone
from django.utils.translation import gettext_lazy

from exports import toolbox
from exports.models import FileRequest
from exports.toolbox import JSONSerializer, Signer
from tests.shop.requests import queued, user
from tests.shop.runs import configure, use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

ID = UUID("5f0c3a52-6d0e-4a57-9a56-0f3b8f6f9d11")
# Signed by dj-bgfiles 0.6.0 on Django 2.2, with SECRET_KEY "the-key-of-old"; the last one with a signer of its own.
OLD_TOKEN = (
    "eyJleHRyYSI6MSwicmVxdWVzdGVyIjo3LCJpZCI6IjVmMGMzYTUyLTZkMGUtNGE1Ny05YTU2LTBmM2I4ZjZmOWQxMSJ9"
    ":1xV21o:cb-jJkwB5HUT67j75o45VkUwZ0Q"
)
OLD_GENERAL_TOKEN = "eyJpZCI6IjVmMGMzYTUyLTZkMGUtNGE1Ny05YTU2LTBmM2I4ZjZmOWQxMSJ9:1xV21o:_nE79BLVrtZU2ztEinP-0E_YvCU"
OLD_COMPRESSED_TOKEN = (
    ".eJyrVirPL0opVrJSqhgFRAMlHaWi1MLS1OKS1CIlK3MdpcwUYAiaphkkGyeaGumapRik6pokmprrWiaamukapBknWaSZpVmmGBoq1QIAZXSgfA"
    ":1xV21o:kCnU7H0_gvWEUtyU56awBd-5720"
)


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    """Where the stored files of this test lie."""
    return use_folders(settings, tmp_path)


def attached(**columns: Any) -> FileRequest:
    request = queued(**columns)
    toolbox.attach_file(request, ContentFile(b"id\r\n1\r\n"), "events.csv", "text/csv")
    return request


def fresh(request: FileRequest) -> FileRequest:
    return FileRequest.objects.get(pk=request.pk)


# Signers


def test_the_serializer_takes_ids_dates_and_lazy_text():
    data = {"id": ID, "on": date(2016, 2, 4), "at": datetime(2016, 2, 4, 8, tzinfo=UTC), "é": gettext_lazy("x")}
    serializer = JSONSerializer()
    text = serializer.dumps(data)
    assert isinstance(text, bytes)
    assert serializer.loads(text) == {"id": str(ID), "on": "2016-02-04", "at": "2016-02-04T08:00:00Z", "é": "x"}


def test_a_signer_reads_what_it_wrote_and_nothing_else():
    signer = Signer(key="k", salt="s")
    token = signer.dump({"id": ID})
    assert signer.load(token) == {"id": str(ID)}
    for other in (Signer(key="k"), Signer(salt="s"), Signer(key="k2", salt="s")):
        with pytest.raises(BadSignature):
            other.load(token)


def test_a_compressed_token_is_shorter_and_reads_the_same():
    data = {"words": "x" * 500}
    plain, compressed = Signer(), Signer(compress=True)
    assert len(compressed.dump(data)) < len(plain.dump(data)) / 2
    assert plain.load(compressed.dump(data)) == data


def test_a_token_older_than_its_age_has_expired():
    token = Signer().dump({})
    assert Signer(max_age=60).load(token) == {}
    with pytest.raises(SignatureExpired):
        Signer(max_age=-1).load(token)


def test_a_key_of_ones_own_has_nothing_to_do_with_the_old_secret_keys(settings: Any):
    token = Signer().dump({})
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "a-newer-one"
    assert Signer().load(token) == {}
    with pytest.raises(BadSignature):
        Signer(key="my-key").load(token)


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
    """Any object with these three is a signer."""

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


def test_the_default_signer_is_made_of_the_settings(settings: Any):
    configure(settings, TOKEN_KEY="k", TOKEN_SALT="s", TOKEN_SERIALIZER=JSONSerializer, TOKEN_MAX_AGE_SECONDS=5)
    signer = toolbox.get_default_signer()
    assert (signer.key, signer.salt, signer.serializer, signer.max_age) == ("k", "s", JSONSerializer, 5)


def test_without_settings_it_is_the_secret_key_the_salt_bgfiles_and_a_day(settings: Any):
    signer = toolbox.get_default_signer()
    found = (signer.key, signer.salt, signer.serializer, signer.max_age)
    assert found == (settings.SECRET_KEY, "bgfiles", JSONSerializer, 86400)
    token = signer.dump({})
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "a-newer-one"
    assert toolbox.get_default_signer().load(token) == {}


def test_the_original_names_count_where_ours_say_nothing(settings: Any):
    settings.BGFILES_DEFAULT_KEY, settings.BGFILES_DEFAULT_SALT = "old-key", ""
    settings.BGFILES_DEFAULT_SERIALIZER, settings.BGFILES_DEFAULT_MAX_AGE = JSONSerializer, None
    signer = toolbox.get_default_signer()
    assert (signer.key, signer.salt, signer.max_age) == ("old-key", "", None)
    configure(settings, TOKEN_KEY="new-key", TOKEN_MAX_AGE_SECONDS=7)
    signer = toolbox.get_default_signer()
    assert (signer.key, signer.salt, signer.max_age) == ("new-key", "", 7)


@pytest.mark.parametrize("chosen", [ready_made, "tests.test_toolbox_tokens.ready_made"])
def test_a_signer_in_the_settings_wins(settings: Any, chosen: Any):
    settings.BGFILES_DEFAULT_SIGNER = chosen
    configure(settings, TOKEN_KEY="k")
    assert toolbox.get_default_signer() is ready_made


# Tokens


def test_a_token_names_the_request_its_requester_and_more():
    request, data = attached(requester=user("ada")), {"extra": 1}
    token = toolbox.create_token(request, data)
    assert toolbox.decode(token) == (request, {"extra": 1, "requester": user("ada").pk, "id": str(request.pk)})
    assert data == {"extra": 1}


def test_a_token_for_the_requester_needs_one():
    with pytest.raises(RuntimeError):
        toolbox.create_token(attached(requester=None))


def test_a_general_token_names_no_requester():
    request = attached(requester=user("ada"))
    token = toolbox.create_general_token(request, {"extra": 1})
    assert toolbox.decode(token, require_requester=False) == (request, {"extra": 1, "id": str(request.pk)})
    with pytest.raises(BadSignature):
        toolbox.decode(token)


@pytest.mark.parametrize("minted", [None, [], "text", {}, {"requester": 1}, {"id": None}])
def test_a_token_of_ours_that_names_no_file_is_a_bad_one(minted: Any):
    with pytest.raises((BadSignature, FileRequest.DoesNotExist)):
        toolbox.decode(Signer().dump(minted), require_requester=False)


@pytest.mark.parametrize("ids", [{"id": uuid4()}, {"id": "no-uuid"}, {"id": [1]}, {"requester": 10**6}])
def test_ids_that_match_nothing_are_a_request_that_is_not_there(ids: dict[str, Any]):
    request = attached(requester=user("ada"))
    token = Signer().dump({"id": request.pk, "requester": user("ada").pk} | ids)
    with pytest.raises(FileRequest.DoesNotExist):
        toolbox.decode(token)


def test_what_the_signer_raises_passes_through(settings: Any):
    token = toolbox.create_token(attached(requester=user("ada")))
    configure(settings, TOKEN_MAX_AGE_SECONDS=-1)
    with pytest.raises(SignatureExpired):
        toolbox.decode(token)
    with pytest.raises(BadSignature):
        toolbox.decode("nonsense")


def test_the_first_token_decides_when_the_file_expires_and_later_ones_do_not():
    request = attached()
    assert request.expires_at is None
    toolbox.create_general_token(request, signer=Signer(max_age=3600))
    decided = fresh(request).expires_at
    assert decided == request.expires_at
    assert timedelta(minutes=59) < decided - timezone.now() <= timedelta(hours=1)
    for max_age in (60, 10**6):
        toolbox.create_general_token(request, signer=Signer(max_age=max_age))
    assert fresh(request).expires_at == decided


def test_a_signer_without_age_leaves_the_expiry_open():
    request = attached()
    toolbox.create_general_token(request, signer=Signer())
    assert fresh(request).expires_at is None

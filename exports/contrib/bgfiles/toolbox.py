"""The functions of dj-bgfiles' toolbox under their own names: add requests, attach files, create and read tokens.

`add_request` is never merged with an identical request and no quota applies to it. The project serves a token with
`views.serve_file`.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Protocol

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.serializers.json import DjangoJSONEncoder
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.db import transaction
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.encoding import force_str
from django.utils.module_loading import import_string

from exports.conf import config
from exports.exporters import permissions
from exports.http import responses
from exports.models import FileRequest, Status, transitions
from exports.realtime import events


class TokenSigner(Protocol):
    """Any object that signs tokens. The data is what the serializer accepts, hence `Any`."""

    @property
    def max_age(self) -> float | None:
        """Return the lifetime of a token in seconds, or None if tokens do not expire."""

    def load(self, token: str) -> Any:
        """Return the data in the token. Raise BadSignature if it was not signed by this signer."""

    def dump(self, data: Any) -> str:
        """Return a token with this data."""


class JSONSerializer:
    """JSON for tokens; UUIDs, dates and decimals become text."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj, separators=(",", ":"), cls=DjangoJSONEncoder).encode("utf-8")

    def loads(self, data: bytes) -> Any:
        return json.loads(data.decode("utf-8"))


class Signer:
    """The default TokenSigner, built on Django's TimestampSigner."""

    DEFAULT_SALT: ClassVar[str] = "bgfiles"
    DEFAULT_SERIALIZER: ClassVar[type] = JSONSerializer

    def __init__(
        self,
        key: str | None = None,
        salt: str = DEFAULT_SALT,
        serializer: type = DEFAULT_SERIALIZER,
        compress: bool = False,
        max_age: float | None = None,
    ) -> None:
        """`key` None means SECRET_KEY; `max_age` is in seconds, None for tokens that do not expire."""
        self.key = key
        self.salt = salt
        self.serializer = serializer
        self.compress = compress
        self.max_age = max_age

    def load(self, token: str) -> Any:
        """Return the data in the token. Raise BadSignature, or SignatureExpired if it is older than max_age."""
        try:
            return self._unsign(token, "sha256")
        except SignatureExpired:
            raise
        except BadSignature:
            # Tokens made by dj-bgfiles on Django before 3.1 are signed with SHA-1; links in old mails stay valid.
            return self._unsign(token, "sha1")

    def dump(self, data: Any) -> str:
        return self._signer("sha256").sign_object(data, serializer=self.serializer, compress=self.compress)

    def _unsign(self, token: str, algorithm: str) -> Any:
        try:
            return self._signer(algorithm).unsign_object(token, serializer=self.serializer, max_age=self.max_age)
        except ValueError as error:
            # The signature is ours, but the content is not a token: it has no timestamp or is not JSON.
            raise BadSignature("This is not a token.") from error

    def _signer(self, algorithm: str) -> TimestampSigner:
        # SECRET_KEY_FALLBACKS replace an old SECRET_KEY; without [] Django accepts them for any other key too.
        fallback_keys: list[str | bytes] | None = None if self.key in (None, settings.SECRET_KEY) else []
        return TimestampSigner(key=self.key, salt=self.salt, algorithm=algorithm, fallback_keys=fallback_keys)


def get_default_signer() -> TokenSigner:
    """Return EXPORTS["TOKEN_SIGNER"], or a Signer made from the settings TOKEN_KEY, _SALT, _SERIALIZER and _MAX_AGE."""
    signer: TokenSigner | None = _import_if_path(config.TOKEN_SIGNER)
    if signer:
        return signer
    return Signer(
        key=settings.SECRET_KEY if config.TOKEN_KEY is None else config.TOKEN_KEY,
        salt=Signer.DEFAULT_SALT if config.TOKEN_SALT is None else config.TOKEN_SALT,
        serializer=_import_if_path(config.TOKEN_SERIALIZER) or Signer.DEFAULT_SERIALIZER,
        max_age=config.TOKEN_MAX_AGE_SECONDS,
    )


def add_request(
    criteria: str = "",
    file_type: str = "",
    requester: Any = None,
    content_type: str = "",
    description: str = "",
    language: str | None = None,
    tz: str | None = None,
    filename: str | None = "",
    permission: permissions.Rule | None = None,
) -> FileRequest:
    """Add and return a request for a file.

    `requester` is a user, an AnonymousUser or None; the latter two mean that there is no requester. `language` and `tz`
    default to the active ones. `permission` is asked whenever the file is made or handed out; without one, the request
    cannot be tried again once it has ended: see `export_response`.
    """
    request = FileRequest(
        criteria=criteria,
        file_type=file_type,
        requester=None if isinstance(requester, AnonymousUser) else requester,
        content_type=content_type or "",
        # May be a lazy translation.
        description=force_str(description or ""),
        filename=filename or "",
        permission=permissions.stored_rule(permission),
        requester_language=(language if language is not None else translation.get_language()) or "",
        requester_timezone=tz if tz is not None else timezone.get_current_timezone_name(),
    )
    transitions.enqueue(request)
    _publish_on_commit(request)
    return request


def attach_file(
    request: FileRequest,
    contents: Any,
    filename: str | None = None,
    content_type: str | None = None,
    size: int | None = None,
) -> None:
    """Store `contents` as the file of this request, mark it finished and save it. Falsy arguments keep the old values.

    `contents` is a File, an open file, bytes or text. Raise TransitionNotAllowed if the request was
    cancelled or changed since it was loaded.
    """
    request.attach_file(contents, filename, content_type, size=size)
    request.save()
    _publish_on_commit(request)


def attach_local_file(
    request: FileRequest,
    filepath: str | Path,
    filename: str | None = None,
    content_type: str | None = None,
    size: int | None = None,
) -> None:
    """Store a copy of the file at `filepath`, like attach_file."""
    with Path(filepath).open("rb") as contents:
        attach_file(request, File(contents), filename=filename, content_type=content_type, size=size)


def create_token(request: FileRequest, data: Mapping[str, Any] | None = None, signer: TokenSigner | None = None) -> str:
    """Return a token for the requester of this file, with extra `data`. Raise RuntimeError if there is no requester."""
    if not request.requester_id:
        raise RuntimeError("This request has no requester: use create_general_token.")
    return create_general_token(request, {**(data or {}), "requester": request.requester_id}, signer)


def create_general_token(
    request: FileRequest, data: Mapping[str, Any] | None = None, signer: TokenSigner | None = None
) -> str:
    """Return a token that anyone may use. The first token of a request sets its expiry; later ones do not change it."""
    signer = signer or get_default_signer()
    token = signer.dump({**(data or {}), "id": request.pk})
    if signer.max_age and transitions.set_expiry_once(request, timedelta(seconds=signer.max_age)):
        request.refresh_from_db(fields=["expires_at"])
    return token


def decode(
    token: str, require_requester: bool = True, signer: TokenSigner | None = None
) -> tuple[FileRequest, dict[str, Any]]:
    """Return the request that this token names, and the data in the token.

    Raises:
        BadSignature: there is no id in the token, or no requester although one is required; or the signer raised it.
        SignatureExpired: the token is older than the signer's max_age.
        FileRequest.DoesNotExist: the ids match no request.

    """
    data = (signer or get_default_signer()).load(token)
    if not isinstance(data, dict) or "id" not in data:
        raise BadSignature("This token has no request id.")
    if require_requester and data.get("requester") is None:
        raise BadSignature("This token has no requester.")
    ids = {"pk": data["id"]}
    if "requester" in data:
        ids["requester_id"] = data["requester"]
    try:
        return FileRequest.objects.select_related("requester").get(**ids), data
    except (ValidationError, ValueError, TypeError) as error:
        raise FileRequest.DoesNotExist("The ids in this token match no request.") from error


def serve(
    request: FileRequest,
    raise_on_missing: type[Exception] | None = Http404,
    default_content_type: str = "application/octet-stream",
    http_request: HttpRequest | None = None,
) -> HttpResponseBase:
    """Return the file as a streaming response, or raise `raise_on_missing`.

    Ranges and conditional requests are answered only if `http_request` is given.
    """
    if http_request is None:
        http_request = HttpRequest()
        http_request.method = "GET"
    try:
        if not request.filehandle or request.status == Status.EXPIRED:
            raise FileNotFoundError
        response = responses.file_response(http_request, request)
    except FileNotFoundError:
        raise (raise_on_missing or Http404)() from None
    if not request.content_type:
        response.headers["Content-Type"] = default_content_type
    if not request.filename:
        response.headers["Content-Disposition"] = "attachment"
    return response


def _import_if_path(value: Any) -> Any:
    return import_string(value) if isinstance(value, str) else value


def _publish_on_commit(request: FileRequest) -> None:
    # robust: open pages read the row again by themselves, so a lost event does no harm.
    # Not a partial: Django reads __qualname__ of a callback that raises.
    transaction.on_commit(lambda: events.send_state(request), robust=True)

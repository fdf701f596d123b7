"""The functions of dj-bgfiles' toolbox, under their own names: requests, files and tokens by hand.

`add_request` is never joined with another request nor limited. A token is the host's to serve, by `views.serve_file`.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

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
from exports.http import responses
from exports.models import FileRequest, Status, transitions
from exports.realtime import events


class JSONSerializer:
    """JSON for tokens; UUIDs, dates and decimals become text."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj, separators=(",", ":"), cls=DjangoJSONEncoder).encode("utf-8")

    def loads(self, data: bytes) -> Any:
        return json.loads(data.decode("utf-8"))


class Signer:
    """Makes and reads tokens by Django's signing. Anything with `load`, `dump` and `max_age` may take its place."""

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
        """`max_age` in seconds, None for tokens that never grow old; `key` None for SECRET_KEY."""
        self.key = key
        self.salt = salt
        self.serializer = serializer
        self.compress = compress
        self.max_age = max_age

    def load(self, token: str) -> Any:
        """What is in the token. Raises BadSignature, or SignatureExpired where it is older than max_age."""
        try:
            return self._unsign(token, "sha256")
        except SignatureExpired:
            raise
        except BadSignature:
            # Django signed with SHA-1 before 3.1, and so did the sites that come from there: their links go on.
            return self._unsign(token, "sha1")

    def dump(self, data: Any) -> str:
        return self._signer("sha256").sign_object(data, serializer=self.serializer, compress=self.compress)

    def _unsign(self, token: str, algorithm: str) -> Any:
        try:
            return self._signer(algorithm).unsign_object(token, serializer=self.serializer, max_age=self.max_age)
        except ValueError as error:
            # Signed with our key, but no token: it has no time, or is no JSON.
            raise BadSignature("This is not a token.") from error

    def _signer(self, algorithm: str) -> TimestampSigner:
        # A key of its own has nothing to do with SECRET_KEY_FALLBACKS, which Django would accept as well.
        fallbacks = None if self.key is None else []
        return TimestampSigner(key=self.key, salt=self.salt, algorithm=algorithm, fallback_keys=fallbacks)


def get_default_signer() -> Any:
    """The signer of the settings: EXPORTS["TOKEN_SIGNER"], or one made of KEY, SALT, SERIALIZER and MAX_AGE."""
    if signer := _loaded(config.TOKEN_SIGNER):
        return signer
    return Signer(
        key=config.TOKEN_KEY,
        salt=Signer.DEFAULT_SALT if config.TOKEN_SALT is None else config.TOKEN_SALT,
        serializer=_loaded(config.TOKEN_SERIALIZER) or Signer.DEFAULT_SERIALIZER,
        max_age=config.TOKEN_MAX_AGE_SECONDS,
    )


def _loaded(chosen: Any) -> Any:
    """What a setting names by its dotted path; anything else is meant itself."""
    return import_string(chosen) if isinstance(chosen, str) else chosen


def add_request(
    criteria: str = "",
    file_type: str = "",
    requester: Any = None,
    content_type: str = "",
    description: str = "",
    language: str | None = None,
    tz: str | None = None,
    filename: str = "",
) -> FileRequest:
    """Add a request for a file. `language` and `tz` are the active ones unless given; an AnonymousUser is nobody."""
    request = FileRequest(
        criteria=criteria,
        file_type=file_type,
        requester=None if isinstance(requester, AnonymousUser) else requester,
        content_type=content_type or "",
        description=force_str(description or ""),
        filename=filename or "",
        requester_language=(language if language is not None else translation.get_language()) or "",
        requester_timezone=tz if tz is not None else timezone.get_current_timezone_name(),
    )
    transitions.enqueue(request)
    _tell(request)
    return request


def attach_file(
    request: FileRequest,
    contents: Any,
    filename: str | None = None,
    content_type: str | None = None,
    size: int | None = None,
) -> None:
    """Store `contents` as the file of this request, mark it finished, and save it. Falsy arguments keep what is there.

    `contents` is a File, anything that can be read, or bytes or text. Raises TransitionNotAllowed when it has moved on
    since it was loaded.
    """
    request.attach_file(contents, filename, content_type, size=size)
    request.save()
    _tell(request)


def attach_local_file(
    request: FileRequest,
    filepath: str | Path,
    filename: str | None = None,
    content_type: str | None = None,
    size: int | None = None,
) -> None:
    """Store a copy of the file at `filepath`, as attach_file does."""
    with Path(filepath).open("rb") as contents:
        attach_file(request, File(contents), filename=filename, content_type=content_type, size=size)


def create_token(request: FileRequest, data: Mapping[str, Any] | None = None, signer: Any = None) -> str:
    """A token for the requester of this file. Raises RuntimeError for a request without one."""
    if not request.requester_id:
        raise RuntimeError("This request has no requester: use create_general_token.")
    return create_general_token(request, {**(data or {}), "requester": request.requester_id}, signer)


def create_general_token(request: FileRequest, data: Mapping[str, Any] | None = None, signer: Any = None) -> str:
    """A token for whoever holds it. The first token decides when the file expires, later ones do not move that."""
    signer = signer or get_default_signer()
    token = signer.dump({**(data or {}), "id": request.pk})
    if signer.max_age and transitions.set_expiry_once(request, timedelta(seconds=signer.max_age)):
        request.refresh_from_db(fields=["expires_at"])
    return token


def decode(token: str, require_requester: bool = True, signer: Any = None) -> tuple[FileRequest, Any]:
    """The request of this token, and the data in it. Raises what the signer raises; BadSignature without an id, or
    without a requester where one is required; FileRequest.DoesNotExist when the ids match nothing."""
    data = (signer or get_default_signer()).load(token)
    if not isinstance(data, dict) or "id" not in data:
        raise BadSignature("This token names no file.")
    if require_requester and data.get("requester") is None:
        raise BadSignature("This token names no requester.")
    named = {"pk": data["id"]} | ({"requester_id": data["requester"]} if "requester" in data else {})
    try:
        return FileRequest.objects.select_related("requester").get(**named), data
    except (ValidationError, ValueError, TypeError) as error:
        raise FileRequest.DoesNotExist("This token names no request.") from error


def serve(
    request: FileRequest,
    raise_on_missing: type[Exception] | None = Http404,
    default_content_type: str = "application/octet-stream",
    http_request: HttpRequest | None = None,
) -> HttpResponseBase:
    """The file as a streamed response, with ranges where `http_request` is given. Without one: `raise_on_missing`."""
    try:
        if not request.filehandle or request.status == Status.EXPIRED:
            raise FileNotFoundError
        response = responses.file_response(http_request or _plain_get(), request)
    except FileNotFoundError:
        raise (raise_on_missing or Http404)() from None
    if not request.content_type:
        response.headers["Content-Type"] = default_content_type
    if not request.filename:
        response.headers["Content-Disposition"] = "attachment"
    return response


def _tell(request: FileRequest) -> None:
    """Let the pages know when the transaction commits; the row is what counts, so a lost event does not matter."""
    transaction.on_commit(lambda: events.publish(request), robust=True)


def _plain_get() -> HttpRequest:
    request = HttpRequest()
    request.method = "GET"
    return request

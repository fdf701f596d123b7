"""The user of a socket: who it is, and what they may see."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user, get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.handlers import asgi
from django.urls import get_script_prefix, set_script_prefix
from django.utils import translation

from exports import services
from exports.access import authentication, tenants
from exports.conf import config
from exports.models import Actor, FileRequest
from exports.models.request import AnyUser, FileRequestQuerySet
from exports.models.token import token_of_user
from exports.realtime import admission, events, resume
from exports.realtime.protocol import CloseCode, SocketRefused
from exports.state import State, serialize

Scope = dict[str, Any]
Result = TypeVar("Result")
SNAPSHOT_QUEUE_SECONDS = 1.0


def in_thread(function: Callable[..., Result]) -> Callable[..., Awaitable[Result]]:
    """Return an async version of a function that queries the database for an open socket, whose scope it takes first.

    The tenant is as in `of_tenant`.
    """
    return partial(admission.open_sockets.call, of_tenant(function))


def of_tenant(function: Callable[..., Result]) -> Callable[..., Result]:
    """Let a function run with the tenant of the request that opened the socket, whose scope it takes first."""

    def call(scope: Scope, *args: Any) -> Result:
        if config.TENANT_OF is None:
            return function(scope, *args)
        with tenants.active(tenants.tenant_of(authentication.request_of(scope))):
            return function(scope, *args)

    return call


@contextmanager
def urls_for(scope: Scope) -> Iterator[None]:
    """Let `reverse` make URLs as for the page that opened this socket: below its site's path, in its language."""
    [language] = parse_qs(scope["query_string"].decode("latin1")).get("language", [""])[-1:]
    before = get_script_prefix()
    set_script_prefix(asgi.get_script_prefix(scope))
    try:
        with translation.override(language if language in dict(settings.LANGUAGES) else translation.get_language()):
            yield
    finally:
        set_script_prefix(before)


def active_user(scope: Scope) -> AnyUser:
    """Return the user of the token or the session cookie as they are in the database now.

    A project's own middleware may set scope["user"] instead of the cookie. Raises SocketRefused if the user is not
    signed in or not active.
    """
    request = authentication.request_of(scope)

    def session_user() -> AnyUser:
        if "user" in scope:
            return get_user_model()._default_manager.filter(pk=scope["user"].pk).first() or AnonymousUser()
        # Django's get_user reads nothing but the session of a request.
        engine = import_module(settings.SESSION_ENGINE)
        request.session = engine.SessionStore(scope["cookies"].get(settings.SESSION_COOKIE_NAME))
        return get_user(request)

    user = authentication.user_of(request, session_user)
    if not user.is_authenticated or not user.is_active:
        raise SocketRefused(CloseCode.LOGGED_OUT, "signed out")
    return user


class Opened(NamedTuple):
    """Whose socket this is: the group of the user's sockets, the types that the token opens, and the first states."""

    reader: str
    user_id: object
    tenant: str
    file_types: list[str]
    states: list[State]


def open_for(scope: Scope, join: Callable[..., None]) -> Opened:
    """Return whose socket this is, and the states of active exports and of those that ended lately, oldest first.

    A client that says what it knows gets no states yet. `join` is called with the groups of the socket before the rows
    are read, so that no change falls between the two. Raises SocketRefused if the user is not signed in or active, or
    may not see the export.
    """
    user, export_id = active_user(scope), scope["url_route"]["kwargs"].get("pk")
    token, reader = token_of_user(user), events.group_of_reader(user.pk)
    exports: list[FileRequest] = []
    if export_id is not None:
        join(events.group_of_request(export_id), reader)
        exports = [visible(user, export_id, FileRequest.objects.without_details().timed())]
    else:
        join(events.group_of_user(user.pk, tenants.current()), reader)
        if not resumes(scope):
            newest = FileRequest.objects.owned_by(user).filter(resume.recent()).without_details().timed()
            exports = [*reversed(newest.order_by("-requested_at")[: config.SNAPSHOT_MAX_EXPORTS])]
    return Opened(reader, user.pk, tenants.current(), token.exporters if token is not None else [], states_of(exports))


def resumes(scope: Scope) -> bool:
    """Return True if the client of this socket begins by saying what it knows. A socket of one export never does."""
    asked = parse_qs(scope["query_string"].decode("latin1")).get("resume") == ["1"]
    return asked and scope["url_route"]["kwargs"].get("pk") is None


def states_for(scope: Scope, export_ids: Sequence[UUID]) -> list[State]:
    """Return the states of these exports, oldest first, as far as they are the user's own.

    Raises SocketRefused if the user is not signed in or active.
    """
    own = FileRequest.objects.owned_by(active_user(scope)).without_details().timed()
    return states_of([*own.filter(pk__in=export_ids).order_by("requested_at")])


def states_of(exports: Sequence[FileRequest]) -> list[State]:
    """Return the states of many exports; what they say about queues may be a second old."""
    return [serialize(export, queue_seconds=SNAPSHOT_QUEUE_SECONDS) for export in exports]


def check(scope: Scope) -> None:
    """Raise SocketRefused if the user is not signed in or active, or may not see the export any more."""
    user, export_id = active_user(scope), scope["url_route"]["kwargs"].get("pk")
    if export_id is not None:
        visible(user, export_id, FileRequest.objects.only("pk"))


def visible(user: AnyUser, export_id: UUID, exports: FileRequestQuerySet) -> FileRequest:
    """Return one of these exports if the user may see it. Raises SocketRefused if not, or if it is gone."""
    export = find_visible(user, export_id, exports)
    if export is None:
        raise SocketRefused(CloseCode.NOT_FOUND, "no such request")
    return export


def find_visible(user: AnyUser, export_id: UUID | str, exports: FileRequestQuerySet) -> FileRequest | None:
    """Return one of these exports if the user may see it, else None."""
    # Most are the user's own, and permissions cost two queries more.
    own = exports.owned_by(user).filter(pk=export_id).first()
    return own or exports.visible_to(user).filter(pk=export_id).first()


def ready_state_for(scope: Scope, export_id: str) -> State | None:
    """Return the present state with a ticket for this user, or None if the export was deleted.

    Raises SocketRefused if the user is not signed in or active.
    """
    user = active_user(scope)
    export = find_visible(user, export_id, FileRequest.objects.all())
    if export is None:
        return None
    with urls_for(scope):
        return services.state_for(user, export, is_bearer=authentication.socket_carries_token(scope))


def mark_seen(scope: Scope, export_id: UUID) -> None:
    """Note that the owner's page has shown how the export ended; does nothing for exports of other users.

    Nor does it for a token that only reads. Raises SocketRefused if the user is not signed in or active.
    """
    user = active_user(scope)
    export = FileRequest.objects.owned_by(user).filter(pk=export_id).first()
    if export is not None and not Actor.of(user).is_reader:
        services.mark_seen(export)

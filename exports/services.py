"""The verbs of the doors: request, cancel, retry, revoke, share, expire, see. Each makes one move and tells the pages.

What a reader is shown of a file is decided here too, since it depends on what its export says of its owner now.
"""

import hashlib
import json
import zoneinfo
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import QueryDict
from django.utils import timezone, translation

from exports import audit, faults
from exports.conf import config
from exports.exceptions import InvalidForm, TransitionNotAllowed
from exports.exporters import QuerySetExport, registry
from exports.exporters.sheets import Held, is_withheld
from exports.exporters.stored_rows import StoredQuerySet, StoredRows, keep_rows, store_rows
from exports.models import FileRequest, Status, quotas, transitions
from exports.models.request import AnyUser
from exports.queue import base as queue
from exports.realtime import events
from exports.signing import InvalidLink, PublicLink
from exports.state import State, personalize, serialize, withheld
from exports.tabular import writers

Verb = Callable[[FileRequest], None]

LASTS_SECONDS = 300
"""A file that expires sooner is not offered again."""


class NotAllowed(Exception):
    """This user may not have this export."""


def request_export(
    user: AnyUser,
    file_type: str,
    criteria: QueryDict | Mapping[str, Any],
    *,
    format: str = "",
    options: Mapping[str, Any] | None = None,
    time_zone: str = "",
    fresh: bool = False,
) -> tuple[FileRequest, bool]:
    """Queue an export for `user` and ring the bell when the transaction commits.

    Returns the request and whether it is new: the same user asking for the same thing while it is under way gets the
    request that is; so does, unless it must be `fresh`, who asks again for a file that is as young as EXPORTS
    ["REUSE_WITHIN_SECONDS"] or the export's own `reuse_within_seconds` says. Language is the active one; `time_zone` is
    an IANA name, the active zone where it is empty or unknown. Raises UnknownFileType, UnknownFormat, BadOption,
    InvalidForm, NotAllowed or LimitReached.
    """
    exporter = registry.find_export(file_type)
    writer = exporter.writer_of(format)
    cleaned_options = exporter.clean_options(writer, options or {})
    form = exporter.get_form(_query_dict(criteria), user)
    if not form.is_valid():
        raise InvalidForm("The criteria are not valid.", form=form)
    if not exporter.has_permission(user, form.cleaned_data):
        raise NotAllowed("You may not export this.")
    held = _held(exporter, user, form.cleaned_data)
    request = FileRequest(
        requester=user if user.is_authenticated else None,
        file_type=file_type,
        format=writer.format,
        options=cleaned_options,
        criteria=_stored(form),
        description=str(exporter.title),
        content_type=writer.content_type,
        queue_name=exporter.get_queue_name(user, form.cleaned_data),
        requester_language=translation.get_language() or "",
        requester_timezone=_known_zone(time_zone),
        woken_at=timezone.now(),
        counts_toward_quota=_is_limited(user),
    )
    request.filename = exporter.get_filename(request)
    request.dedupe_key = _dedupe_key(request, held)
    made = None if fresh else _made_lately(request, exporter, held)
    return (made, False) if made is not None else _enqueue(request)


def request_rows(
    user: AnyUser,
    rows: QuerySet[Any] | Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    format: str,
    options: Mapping[str, Any],
    filename: str,
    is_small: bool,
) -> FileRequest:
    """Queue a queryset, stored as JSON, or rows, stored as JSON Lines, for `user`.

    Raises UnstorableQuerySet, or LimitReached before anything is stored, where nobody else comes between.
    """
    is_queryset = isinstance(rows, QuerySet)
    request = FileRequest(
        requester=user,
        file_type=(StoredQuerySet if is_queryset else StoredRows).file_type,
        format=format,
        options=dict(options),
        description=filename,
        filename=filename,
        content_type=writers.get(format).content_type,
        queue_name="small" if is_small else "large",
        requester_language=translation.get_language() or "",
        requester_timezone=timezone.get_current_timezone_name(),
        woken_at=timezone.now(),
        counts_toward_quota=_is_limited(user),
    )
    if request.counts_toward_quota:
        quotas.check_quota(request)
    if is_queryset:
        request.criteria = StoredQuerySet.criteria_for(rows, columns)
        return _enqueue(request)[0]
    store_rows(request, rows, columns)
    with transaction.atomic():
        request, _is_new = _enqueue(request)
        keep_rows(request)
    return request


def retry(request: FileRequest) -> tuple[FileRequest, bool]:
    """Ask again for what a failed, cancelled or expired request asked for: a new row. Raises like request_export."""
    if request.status not in (Status.FAILED, Status.CANCELLED, Status.EXPIRED):
        raise TransitionNotAllowed("Only a request that failed, was cancelled or has expired can be tried again.")
    if request.erased_at is not None:
        raise TransitionNotAllowed("What was asked for is forgotten. Please ask anew.")
    return _ask_again(request) if registry.has_form(request.file_type) else _again(request)


def make_again(request: FileRequest) -> tuple[FileRequest, bool]:
    """Ask for a newer file in place of one that is there: a new row. Raises like request_export."""
    if not can_be_made_again(request):
        raise TransitionNotAllowed("Only a file that is there can be made again.")
    return _ask_again(request)


def can_be_made_again(request: FileRequest) -> bool:
    """Whether there is a file that a form was filled in for, so that the same can be asked once more."""
    is_known = request.file_type in registry.handlers
    return request.status == Status.READY and is_known and registry.has_form(request.file_type)


def _ask_again(request: FileRequest) -> tuple[FileRequest, bool]:
    return request_export(
        request.requester or AnonymousUser(),
        request.file_type,
        QueryDict(request.criteria),
        format=request.format,
        options=request.options,
        time_zone=request.requester_timezone,
        fresh=True,
    )


def _again(request: FileRequest) -> tuple[FileRequest, bool]:
    """A new request for what no form stands before: stored rows, whose input is now the input of the new one, a stored
    queryset, or what a handler of the host makes."""
    copied = (
        "requester",
        "file_type",
        "format",
        "options",
        "criteria",
        "description",
        "filename",
        "content_type",
        "queue_name",
    )
    locale = ("requester_language", "requester_timezone")
    counts_toward_quota = _is_limited(request.requester or AnonymousUser())
    same = {name: getattr(request, name) for name in copied + locale}
    again = FileRequest(woken_at=timezone.now(), counts_toward_quota=counts_toward_quota, **same)
    with transaction.atomic():
        again, is_new = _enqueue(again)
        if again.file_type == StoredRows.file_type:
            keep_rows(again)
    return again, is_new


def cancel(request: FileRequest) -> None:
    """End a queued or running request now. Raises TransitionNotAllowed when it has ended already."""
    _move(transitions.cancel, request)
    # Its owner may have room now for what was passed over, and its own worker may be slow to notice.
    transaction.on_commit(lambda: queue.wake(request.queue_name), robust=True)


def expire(request: FileRequest) -> None:
    """Let the file go: links die now, bytes after the leeway. Raises TransitionNotAllowed when there is no file."""
    _move(transitions.expire, request)


def revoke_links(request: FileRequest) -> None:
    """End every ticket and every link for anyone that is out; the file stays. Raises TransitionNotAllowed without a file."""
    _move(transitions.revoke_links, request)


def share(request: FileRequest) -> None:
    """Let anyone who has its public link have this file for a while; an older link ends. Raises TransitionNotAllowed when
    there is no file, and NotAllowed where its export offers no such links."""
    seconds = registry.public_seconds(request)
    if seconds is None:
        raise NotAllowed("This export has no links for anyone.")
    _move(partial(transitions.share, seconds=seconds), request)


def may_share(user: AnyUser, request: FileRequest) -> bool:
    """Whether this user may give the file away: who may change the request, and may have the file as well."""
    offers = request.requester_id is not None and registry.public_seconds(request) is not None
    return offers and request.is_changeable_by(user) and may_download(user, request)


def public_link_of(request: FileRequest) -> str | None:
    """What stands for the file in its public link, where there is one that is good."""
    if request.status != Status.READY or request.public_until is None or request.public_until <= timezone.now():
        return None
    return PublicLink(request.pk, request.epoch, _second(request.public_until)).sign()


def find_public(text: str) -> FileRequest:
    """The READY request that this public link leads to. Raises FileRequest.DoesNotExist for one that is not good.

    The export must still offer such links, and let the owner have the file.
    """
    try:
        link = PublicLink.read(text)
    except InvalidLink:
        raise FileRequest.DoesNotExist from None
    shared = FileRequest.objects.filter(status=Status.READY, epoch=link.epoch, public_until__gt=timezone.now())
    request = shared.select_related("requester").get(pk=link.request_id)
    is_newest = _second(request.public_until) == link.until
    if not is_newest or registry.public_seconds(request) is None or not registry.is_still_granted(request):
        raise FileRequest.DoesNotExist
    return request


def mark_seen(request: FileRequest) -> None:
    """The page of its owner has shown how it ended: no mail."""
    transitions.mark_seen(request)


def may_download(user: AnyUser, request: FileRequest) -> bool:
    """Whether this user may have this file now: the row's own rule, and the exporter's for the owner."""
    if not request.is_downloadable_by(user):
        return False
    return request.requester_id != user.pk or registry.is_still_granted(request)


def state_for(user: AnyUser, request: FileRequest) -> State:
    """The state as this user may have it: with a ticket for whoever may have the file, else without its address. Its
    owner, once the export refuses them, is told so in place of the file."""
    state = serialize(request)
    if request.status != Status.READY:
        return state
    if may_download(user, request):
        return personalize(state, request, user)
    return withheld(state, request, is_owner=request.requester_id == user.pk)


def publish_later(request: FileRequest, note: Callable[[FileRequest], None] = audit.note) -> None:
    """Tell the pages when the transaction commits; the row is what counts, so a lost event does not matter."""
    transaction.on_commit(lambda: events.publish(request, note), robust=True)


def _move(move: Any, request: FileRequest) -> None:
    before, won = request.status, move(request)
    request.refresh_from_db()
    if not won:
        raise TransitionNotAllowed("It is too late for that: the request has moved on.")
    publish_later(request, audit.note if request.status != before else audit.note_links)


def _enqueue(request: FileRequest) -> tuple[FileRequest, bool]:
    request, is_new = transitions.enqueue(request)
    if is_new:
        faults.point("after_insert")
        # Not a partial: Django asks a callback that raises for its __qualname__.
        transaction.on_commit(lambda: queue.wake(request.queue_name), robust=True)
        publish_later(request)
    return request, is_new


def _is_limited(user: AnyUser) -> bool:
    return user.is_authenticated and not user.has_perm("exports.exceed_limits")


def _held(exporter: QuerySetExport, user: AnyUser, criteria: Mapping[str, Any]) -> Held:
    """The permissions that the columns ask for, and whether they are held. Raises NotAllowed if no column is left."""
    columns = exporter.columns_for(user, criteria)
    held = exporter.held(user, columns)
    if columns and all(is_withheld(column, held) for column in columns):
        raise NotAllowed("You may not export any of its columns.")
    return held


def _made_lately(request: FileRequest, exporter: QuerySetExport, held: Held) -> FileRequest | None:
    """The newest file of the same person for the same request that is young enough to be offered again, unless its
    columns were chosen when they held other permissions than now."""
    seconds = config.REUSE_WITHIN_SECONDS if exporter.reuse_within_seconds is None else exporter.reuse_within_seconds
    if not seconds or not request.dedupe_key:
        return None
    now = timezone.now()
    lasting = Q(expires_at=None) | Q(expires_at__gt=now + timedelta(seconds=LASTS_SECONDS))
    same = FileRequest.objects.filter(lasting, requester=request.requester, dedupe_key=request.dedupe_key)
    made = same.filter(status=Status.READY, finished_at__gte=now - timedelta(seconds=seconds))
    newest = made.order_by("-finished_at").first()
    is_as_now = newest is not None and newest.receipt.get("column_permissions", {}) == held
    # What is under way will be younger still.
    return newest if is_as_now and not same.active().exists() else None


def _query_dict(criteria: QueryDict | Mapping[str, Any]) -> QueryDict:
    """The criteria as text, which is how they are stored: what the form accepts here it accepts in the worker."""
    if isinstance(criteria, QueryDict):
        return criteria
    given = QueryDict(mutable=True)
    for name, value in criteria.items():
        values = value if isinstance(value, list | tuple) else [value]
        given.setlist(name, [str(each) for each in values if each is not None])
    return given


def _stored(form: Form) -> str:
    """The form's own fields as they were posted, sorted and URL-encoded; no token, nothing the form does not know."""
    kept = QueryDict(mutable=True)
    for name in sorted(form.data):
        if any(name == field or name.startswith(f"{field}_") for field in map(form.add_prefix, form.fields)):
            kept.setlist(name, form.data.getlist(name))
    return kept.urlencode()


def _known_zone(name: str) -> str:
    try:
        return zoneinfo.ZoneInfo(name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return timezone.get_current_timezone_name()


def _second(moment: datetime) -> int:
    return int(moment.timestamp())


def _dedupe_key(request: FileRequest, held: Held) -> str:
    """The same for two requests that would make the same file. Anonymous requests are never the same."""
    if request.requester_id is None:
        return ""
    same = [
        str(request.requester_id),
        request.file_type,
        request.format,
        request.options,
        request.criteria,
        request.requester_language,
        request.requester_timezone,
        held,
    ]
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()

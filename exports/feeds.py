"""The file under the address of a feed: the newest that is young enough, else one from a new run, else the last good.

A request of the address never changes what the file contains, and has no user signed in: everything is asked of the
owner of the feed, whose permission, quota and limits apply each time.
"""

import time
from datetime import timedelta

from django.db import close_old_connections, transaction
from django.http import QueryDict
from django.utils import timezone, translation

from exports import services
from exports.conf import config
from exports.exceptions import LimitReached
from exports.exporters import permissions, registry
from exports.models import Actor, AuditEntry, Feed, FileRequest, Status, transitions
from exports.models.audit import record
from exports.models.clock import Now

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.05, 1.0
USE_SECONDS = 60
"""How exactly the last use of a feed, and the time until which its file is kept, are noted."""


class NoFileYet(Exception):
    """Raised if there is no file to serve: the run lasts longer than the request waits, or `ended` without one."""

    def __init__(self, ended: FileRequest | None = None) -> None:
        super().__init__("There is no file yet.")
        self.ended = ended


def check(feed: Feed, actor: Actor) -> services.Asked:
    """Ask whether the feed may be used now: whether its export offers feeds, and its owner may request its choices.

    Raises NotAllowed, UnknownFileType, and InvalidForm, UnknownFormat or BadOption for choices that are valid no more.
    """
    if not (feed.owner.is_active and permissions.offers_feeds(feed.file_type)):
        denied = AuditEntry.Outcome.DENIED
        record(AuditEntry.Verb.DOWNLOAD, feed.export_id, actor, file_type=feed.file_type, outcome=denied)
        raise services.NotAllowed("The owner or the export does not allow this feed.")
    columns = feed.columns or None
    chosen = {"format": feed.format, "options": feed.options, "columns": columns}
    return services.check_request(feed.owner, feed.file_type, QueryDict(feed.criteria), **chosen, actor=actor)


def current_file(feed: Feed, actor: Actor, *, may_run: bool) -> FileRequest:
    """Return the READY export to serve. With `may_run`, request a new one if it is due, and wait for it.

    The caller has asked `check`. Raises NoFileYet, and LimitReached if there is no older file either.
    """
    limit: LimitReached | None = None
    if may_run and _is_due(feed):
        try:
            _refresh(feed, actor)
        except LimitReached as error:
            limit = error
    newest = feed.export
    if may_run and newest is not None and newest.is_active:
        newest = _waited_for(newest)
    good = next((each for each in (newest, feed.last_good) if each is not None and _may_serve(feed, each)), None)
    if good is None:
        if limit is not None:
            raise limit
        raise NoFileYet(newest if newest is not None and not newest.is_active else None)
    is_new = good == newest and feed.last_good_id != good.pk
    # Not if another request has begun a newer run meanwhile: that one will do it.
    if is_new and Feed.objects.filter(pk=feed.pk, export=good).exclude(last_good=good).update(last_good=good):
        # The last good one before stays until the next time, for downloads of it that have begun.
        services.remove_replaced(feed, good, actor, but=feed.last_good)
    _note_use(feed, good)
    return good


def may_go_on(feed: Feed, export: FileRequest) -> bool:
    """Return True if a download that has begun may go on: the feed still exists, and its owner may have the file."""
    is_live = Feed.objects.filter(pk=feed.pk, revoked_at=None).exists()
    return is_live and services.may_go_on(feed.owner, export)


def _may_serve(feed: Feed, export: FileRequest) -> bool:
    return export.status == Status.READY and services.may_download(feed.owner, export)


def _is_due(feed: Feed) -> bool:
    """Return True if a new run is needed, also for a file with a column that its owner may not have any more."""
    if feed.is_due(timezone.now()):
        return True
    newest = feed.export
    return newest is not None and newest.status == Status.READY and not _may_serve(feed, newest)


def _refresh(feed: Feed, actor: Actor) -> None:
    """Request a new run if one is still due. The file of the run before becomes the last good one if it is READY."""
    with transaction.atomic():
        # This locks the row: of many refreshes at once the first requests a run, and the others find it here.
        if not Feed.objects.filter(pk=feed.pk, revoked_at=None).update(last_used_at=Now()):
            raise services.NotAllowed("This address has ended.")
        current = Feed.objects.select_related("owner", "export", "last_good").get(pk=feed.pk)
        if _is_due(current):
            if current.export is not None and current.export.status == Status.READY:
                current.last_good = current.export
            with translation.override(feed.language or translation.get_language()):
                current.export, _is_new = services.request_export(
                    feed.owner,
                    feed.file_type,
                    QueryDict(feed.criteria),
                    format=feed.format,
                    options=feed.options,
                    columns=feed.columns or None,
                    time_zone=feed.time_zone,
                    feed=feed,
                    actor=actor,
                )
            current.save(update_fields=["export", "last_good"])
    feed.export, feed.last_good = current.export, current.last_good


def _waited_for(export: FileRequest) -> FileRequest | None:
    """Wait up to EXPORTS["FEED_WAIT_SECONDS"] for the end of an export. Return it as it is then, None if deleted."""
    ends_at, pause = time.monotonic() + config.FEED_WAIT_SECONDS, FIRST_PAUSE_SECONDS
    current: FileRequest | None = export
    while current is not None and current.is_active and (left := ends_at - time.monotonic()) > 0:
        # Many may wait at once, and each would hold a connection.
        close_old_connections()
        time.sleep(min(pause, left))
        pause = min(2 * pause, LAST_PAUSE_SECONDS)
        current = FileRequest.objects.select_related("requester").filter(pk=export.pk).first()
    return current


def _note_use(feed: Feed, good: FileRequest) -> None:
    """Note the use of the feed. Its file is kept as long after it as other files after their run."""
    now = timezone.now()
    lately = now - timedelta(seconds=USE_SECONDS)
    if feed.last_used_at is None or feed.last_used_at < lately:
        Feed.objects.filter(pk=feed.pk).update(last_used_at=now)
    kept_seconds = registry.find_exporter(feed.file_type).kept_seconds
    if kept_seconds is None or good.expires_at is None:
        return
    if good.expires_at < lately + timedelta(seconds=kept_seconds):
        transitions.keep_until(good, now + timedelta(seconds=kept_seconds))

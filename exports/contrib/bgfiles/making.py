"""A pattern's file and mail as the engine makes them: written in a run, mailed by whoever mails."""

from functools import partial
from typing import Any

from exports import notifications
from exports.contrib.bgfiles import toolbox
from exports.contrib.bgfiles.dataset import Dataset, Spool, closed_on_error, counted, pour
from exports.exceptions import InvalidCriteria, InvalidStoredCriteria
from exports.filenames import extension_of
from exports.models import FileRequest, Notification
from exports.models.result import ExportResult
from exports.worker import runner
from exports.worker.runner import Run


class ByHand:
    """A pattern whose `create_file` was called outside a run, as the runner wants an exporter."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def extension(self, request: FileRequest) -> str:
        return extension_of(self._pattern.get_filename() or request.filename)

    def produce(self, run: Run) -> ExportResult:
        return write(self._pattern, run)

    def refusal(self, request: FileRequest) -> str | None:
        return refusal_of_owner(request)


def refusal_of_owner(request: FileRequest) -> str | None:
    """Whose owner is nobody who may sign in any more gets no file; more than that a handler decides itself."""
    owner = request.requester
    return "permission_lost" if owner is not None and not owner.is_active else None


def write(pattern: Any, run: Run) -> ExportResult:
    """Write the work file of this run; iterating `dataset.items` counts rows."""
    criteria = pattern.criteria_class.restore_from(run.request)
    with closed_on_error(_buffer(pattern, run)) as buffer:
        advance = partial(_advance, run, buffer)
        items = counted(_items(pattern, criteria), begin=run.begin, advance=advance)
        pattern.write_bytes(Dataset(criteria, items), buffer)
        run.progress.finishing(0, None)
        with run.path.open("wb") as file:
            pour(buffer, file)
    return ExportResult(
        pattern.get_filename() or run.request.filename,
        pattern.get_content_type() or run.request.content_type,
        run.progress.now.rows_done,
        retention_seconds=_signer(pattern).max_age or None,
    )


def _advance(run: Run, buffer: Any, rows_done: int) -> None:
    """Raises TooManyBytes as soon as the buffer is too large, and what `run.advance` raises."""
    if hasattr(buffer, "tell"):
        run.ceilings.check_bytes(buffer.tell())
    run.advance(rows_done)


def mail(pattern: Any, request: FileRequest) -> object:
    """Mint a token and tell the requester. Raises NoRecipient where the token would be for nobody."""
    is_requester_only = pattern.is_requester_only()
    if is_requester_only and request.requester_id is None:
        raise notifications.NoRecipient("no requester")
    make = toolbox.create_token if is_requester_only else toolbox.create_general_token
    token = make(request, data=pattern.get_token_data(request), signer=_signer(pattern))
    return pattern.send_notification(request, token)


def mail_now(pattern: Any, request: FileRequest) -> None:
    """Send the mail of a file that was just made, for a pattern that no mailer can find."""
    with runner.locale_of(request):
        for notification in request.notifications.filter(kind=Notification.Kind.READY):
            if notifications.claim(notification, early=True):
                notifications.deliver(notification, partial(mail, pattern, request))


def _items(pattern: Any, criteria: Any) -> Any:
    try:
        return pattern.get_items(criteria)
    except InvalidCriteria as error:
        raise InvalidStoredCriteria("Not valid any more.") from error


def _buffer(pattern: Any, run: Run) -> Any:
    buffer_class = pattern.get_buffer_class()
    return buffer_class(run.work_dir) if buffer_class is Spool else buffer_class()


def _signer(pattern: Any) -> Any:
    return pattern.get_signer() or toolbox.get_default_signer()

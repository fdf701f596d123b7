"""`manage.py exports run`: make one file in this process, and write it to a path or to stdout.

The file is that of a request like any other: a row, asked about with the permission policy and recorded in the audit
log. It is claimed in the transaction that inserts it, so that no worker takes it.
"""

import hashlib
import os
import shutil
import signal
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, TextIO

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import CommandError
from django.db import transaction
from django.http import QueryDict

from exports import services, storage
from exports.access import tenants
from exports.access.system import SYSTEM_USER
from exports.conf import config
from exports.exceptions import TransitionNotAllowed, UnknownFileType, UnknownFormat
from exports.exit_codes import Exit
from exports.exporters import QuerySetExport, registry
from exports.exporters.options import PREFIX, posted_options
from exports.http import bodies
from exports.http.refusals import REFUSALS, refusal_of
from exports.models import Actor, AuditEntry, FileRequest, Status
from exports.models.audit import ActorKind, record
from exports.models.request import AnyUser
from exports.models.transitions import Claim
from exports.realtime import events
from exports.state import error_state
from exports.worker import loop, runner, work_dir

STDOUT = "-"
ACTOR_NAME = "command"
BLOCK_BYTES = 1 << 20


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the verb to its parser."""
    parser.add_argument("file_type", help="The file type of a registered export.")
    parser.add_argument("criteria", nargs="*", metavar="NAME=VALUE", help="A field of its form; repeat it for a list.")
    parse = parser.parse_known_args

    # Any: the arguments and the result of argparse, which takes positional arguments before the first option only.
    def parse_criteria_anywhere(*given: Any) -> Any:
        parsed, rest = parse(*given)
        parsed.criteria += [text for text in rest if not text.startswith("-")]
        return parsed, [text for text in rest if text.startswith("-")]

    parser.parse_known_args = parse_criteria_anywhere  # type: ignore[method-assign, assignment]
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", help="The name of the user who gets the file, with the rights of this user.")
    who.add_argument("--system", action="store_true", help="The file belongs to no user; every permission is held.")
    parser.add_argument("--format", default="", help="The format; by default the first of the export.")
    parser.add_argument("--output", metavar="PATH", help="The file or its folder; - is stdout. By default a file here.")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="An option of the format.")
    parser.add_argument("--column", action="append", default=[], metavar="NAME", help="A column, in this order.")
    parser.add_argument("--quiet", action="store_true", help="Show no progress on stderr.")
    parser.add_argument("--tenant", default="", help="The key of the tenant, on a site that has several.")


def run(
    file_type: str,
    *,
    criteria: Sequence[str],
    user: str | None,
    format: str,
    output: str | None,
    option: Sequence[str],
    column: Sequence[str],
    tenant: str,
    stdout: TextIO,
    on_change: runner.OnChange,
) -> str:
    """Make a file and write it. Return its path, STDOUT for stdout.

    `on_change` is called with the row after every change. Raises CommandError, with an `Exit` as its return code.
    """
    check_output(output)
    with tenants.active(tenant), _interrupted_by_sigterm():
        asker, actor = _asker(user)
        try:
            exporter = registry.find_exporter(file_type)
        except UnknownFileType as error:
            raise CommandError(str(error), returncode=Exit.USAGE) from error
        fields, choices = _choices(exporter, asker, criteria, format, option, column)

        def publish(export: FileRequest) -> None:
            events.send_state(export)
            on_change(export)

        export, claim = _claimed(asker, exporter, fields, choices, actor)
        try:
            while export.is_active:
                if claim is not None:
                    loop.run_claimed(export, claim, exporter, on_change=publish)
                else:
                    # Another process runs it, or a failed attempt waits for the next one.
                    time.sleep(config.PROGRESS_INTERVAL_SECONDS)
                    export.refresh_from_db()
                    on_change(export)
                claim = loop.claim_export(export, exporter) if export.is_active else None
        except KeyboardInterrupt:
            raise CommandError(_stop(export, claim, actor), returncode=Exit.INTERRUPTED) from None
        return _save(export, asker, actor, output, stdout)


def check_output(output: str | None) -> None:
    """Raise CommandError before any work if no file can be written there."""
    folder = Path(output or ".")
    folder = folder if folder.is_dir() or output == STDOUT else folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)) and output != STDOUT:
        raise CommandError(f"{folder} is no folder that can be written to.", returncode=Exit.USAGE)


def _asker(username: str | None) -> tuple[AnyUser, Actor]:
    if username is None:
        return SYSTEM_USER, Actor(ActorKind.SYSTEM, name=ACTOR_NAME)
    try:
        user = get_user_model()._default_manager.get_by_natural_key(username)
    except ObjectDoesNotExist as error:
        raise CommandError(f"There is no user {username!r}.", returncode=Exit.USAGE) from error
    return user, Actor(ActorKind.USER, user.pk, name=ACTOR_NAME)


# Any: arguments of different types.
def _choices(
    exporter: QuerySetExport,
    user: AnyUser,
    criteria: Sequence[str],
    format: str,
    options: Sequence[str],
    columns: Sequence[str],
) -> tuple[QueryDict, dict[str, Any]]:
    """Return the criteria, and what else `services.request_export` takes. Raises CommandError."""
    fields = _pairs(criteria)
    names = list(bodies.names_of(exporter.get_form(fields, user)))
    if unknown := [name for name in fields if name not in names]:
        known = f"Its form has {', '.join(names)}." if names else "Its form has no fields."
        message = f"{exporter.file_type!r} has no criterion {', '.join(unknown)}. {known}"
        raise CommandError(message, returncode=Exit.USAGE)
    try:
        writer = exporter.writer_of(format)
    except UnknownFormat as error:
        raise CommandError(str(error), returncode=Exit.USAGE) from error
    posted = {f"{PREFIX}{name}": str(value) for name, value in _pairs(options).items()}
    chosen = [(name, "") for name in columns] or None
    return fields, {"format": format, "options": posted_options(posted, writer), "columns": chosen}


def _pairs(texts: Sequence[str]) -> QueryDict:
    pairs = QueryDict(mutable=True)
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"{text!r} is not NAME=VALUE.", returncode=Exit.USAGE)
        pairs.appendlist(name, value)
    return pairs


def _claimed(
    user: AnyUser, exporter: QuerySetExport, fields: QueryDict, choices: Mapping[str, Any], actor: Actor
) -> tuple[FileRequest, Claim | None]:
    """Request the export and claim it at once.

    The claim is None if the same export of this user runs already. Raises CommandError.
    """
    work_dir.ensure_private()
    try:
        with transaction.atomic():
            export, is_new = services.request_export(
                user, exporter.file_type, fields, **choices, fresh=True, actor=actor
            )
            claim = loop.claim_export(export, exporter)
            if claim is None and is_new:
                message = f"{user} has {config.MAX_RUNNING_PER_USER} exports running, which is the limit."
                raise CommandError(message, returncode=Exit.UNAVAILABLE)
            return export, claim
    except REFUSALS as error:
        refusal = refusal_of(error)
        wrong = [f"{name}: {' '.join(errors)}" for name, errors in refusal.extra.get("fields", {}).items()]
        code = {403: Exit.DENIED, 429: Exit.UNAVAILABLE}.get(refusal.status, Exit.USAGE)
        raise CommandError(" ".join([refusal.message, *wrong]), returncode=code) from error


def _stop(export: FileRequest, claim: Claim | None, actor: Actor) -> str:
    """Cancel the export if this process runs it, and return what to say."""
    if claim is None:
        return "Stopped; another process makes the file."
    export.refresh_from_db()
    with suppress(TransitionNotAllowed):
        services.cancel(export, actor)
    return f"Stopped; the export is {export.status}."


def _save(export: FileRequest, user: AnyUser, actor: Actor, output: str | None, stdout: TextIO) -> str:
    services.mark_seen(export)
    if export.status != Status.READY:
        error = error_state(export, export.error_code)
        reason = f"{error['code']}: {error['message']} {export.error_detail}" if export.error_code else ""
        code = Exit.DENIED if export.error_code == "permission_lost" else Exit.FAILED
        raise CommandError(f"The export has ended as {export.status}. {reason}".strip(), returncode=code)
    record_download = partial(record, AuditEntry.Verb.DOWNLOAD, export.pk, actor, file_type=export.file_type)
    if not services.may_download(user, export):
        record_download(outcome=AuditEntry.Outcome.DENIED)
        raise CommandError("The user may not have this file any more.", returncode=Exit.DENIED)
    size = storage.size_of(str(export.filehandle))
    entry = record_download(outcome=AuditEntry.Outcome.BEGUN, byte_count=size)
    written = ""
    try:
        written = _write(export, output, stdout)
    except OSError as error:
        raise CommandError(f"The file cannot be written: {error}", returncode=Exit.FAILED) from error
    finally:
        entry.end(size if written else 0, of=size, is_failed=not written)
    return written


def _write(export: FileRequest, output: str | None, stdout: TextIO) -> str:
    """Check the bytes, write them, and return the path or STDOUT. Raises CommandError or OSError."""
    if output == STDOUT:
        with tempfile.TemporaryFile(dir=work_dir.ensure_private()) as checked:
            _copy(export, checked)
            checked.seek(0)
            shutil.copyfileobj(checked, stdout.buffer, BLOCK_BYTES)
            stdout.buffer.flush()
        return STDOUT
    path = Path(output or ".")
    path = path / export.filename if path.is_dir() else path
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            _copy(export, file)
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return str(path)


def _copy(export: FileRequest, target: IO[bytes]) -> None:
    """Copy the stored bytes. Raises CommandError if they are not those that were made."""
    digest = hashlib.sha256()
    with storage.open_file(str(export.filehandle)) as source:
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
            target.write(block)
    target.flush()
    if digest.hexdigest() != export.sha256:
        raise CommandError("The stored file is not the one that was made.", returncode=Exit.DAMAGED)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM too; only the main thread gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

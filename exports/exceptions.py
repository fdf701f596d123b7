"""What can go wrong, by name. No Django here: the writers use these too.

ExportError                 ends a request: `code` is stored on the row, its sentence for people is in serializers
├── UnknownFormat, UnknownColumn, BadOption, UnknownFileType, UnstorableQuerySet
├── FormulaRejected, TooManyColumns, DuplicateColumn, UnfitValue, LostCells
├── TooManyRows, TooManyBytes
├── PermissionLost, ExportRefused, InvalidStoredCriteria, NoFile
├── QueryTooSlow, TookTooLong, Stalled, StorageFull, StorageDenied
└── RetryableError               worth another attempt
    └── StorageFailed, ProcessLost
TransitionNotAllowed                     a door's or a hand's move that lost: it changed nothing
LimitReached                this person has asked for as much as they may: nothing was added
RunInterrupted                  stops a worker, says nothing about the request
├── LeaseLost               somebody else moved the row: write nothing, emit nothing
└── WorkerStopping                the worker was told to stop: give the attempt back
"""

import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar


class ExportError(Exception):
    """An error that ends a request, with a stable `code` and a message without row data."""

    code: ClassVar[str] = "export_failed"


class UnknownFormat(ExportError):
    code = "unknown_format"

    def __init__(self, name: str, known: Iterable[str], *, why: str = "") -> None:
        reason = why or f"There is no format named {name!r}."
        super().__init__(f"{reason} Known formats: {', '.join(sorted(known)) or 'none'}.")


class UnknownColumn(ExportError):
    code = "unknown_column"


class UnknownFileType(ExportError, KeyError):
    """No exporter is registered under this file type (a KeyError, as the registry of dj-bgfiles raised)."""

    code = "unknown_file_type"

    def __str__(self) -> str:
        return str(self.args[0])


class BadOption(ExportError):
    code = "bad_option"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"Option {name!r}: {why}")
        self.name = name


class FormulaRejected(ExportError):
    code = "formula_rejected"


class TooManyColumns(ExportError):
    code = "too_many_columns"


class DuplicateColumn(ExportError):
    """Two columns of one name, in a format that tells its columns by their names."""

    code = "duplicate_column"


class UnfitValue(ExportError):
    """A value that the format cannot hold in its column, whose type is fixed: the column needs another kind."""

    code = "unfit_value"


class LostCells(ExportError):
    """The writer refused a cell that the cell rules let through: a defect, never a shorter file."""

    code = "lost_cells"


class PermissionLost(ExportError):
    code = "permission_lost"


class ExportRefused(ExportError):
    """The export says itself, with this code, that what it made may not be handed out any more."""

    def __init__(self, code: str) -> None:
        super().__init__("It is refused now.")
        self.code = code


class InvalidStoredCriteria(ExportError):
    """The criteria were valid at the door and are not any more."""

    code = "invalid_criteria"


class NoFile(ExportError):
    code = "no_file"


class TooManyRows(ExportError):
    """More rows than EXPORTS["MAX_ROWS"], or what the export says itself, lets one file have."""

    code = "too_many_rows"


class TooManyBytes(ExportError):
    """The file is larger than EXPORTS["MAX_BYTES"], or what the export says itself."""

    code = "too_many_bytes"


class QueryTooSlow(ExportError):
    """The database ended a statement that took longer than EXPORTS["STATEMENT_TIMEOUT_SECONDS"], or that somebody
    cancelled."""

    code = "query_too_slow"


class TookTooLong(ExportError):
    code = "took_too_long"


class Stalled(ExportError):
    code = "stalled"


class StorageFull(ExportError):
    """No room for the file, here or in the storage; trying again at once would not help."""

    code = "storage_full"


class StorageDenied(ExportError):
    """The storage does not let us, or is not there: somebody must change its settings or its policy first."""

    code = "storage_denied"


class RetryableError(ExportError):
    """Worth another attempt: a network, a database or a storage that may be back soon."""

    code = "unavailable"


class StorageFailed(RetryableError):
    code = "storage_failed"


class ProcessLost(RetryableError):
    """A process that worked at a file together with this one ended."""

    code = "process_lost"


class TransitionNotAllowed(Exception):
    """The request has moved on; what was asked does not apply any more."""


class LimitReached(Exception):
    """A limit per person: `code` says which, `limit` how many it allows, `seconds` when asking again may help."""

    def __init__(self, code: str, limit: int, *, seconds: float) -> None:
        super().__init__(f"{code}: {limit}")
        self.code = code
        self.limit = limit
        self.seconds = seconds


class UnstorableQuerySet(ExportError):
    """This queryset cannot be stored exactly; a QuerySetExport builds it again instead."""

    code = "unstorable_queryset"

    def __init__(self, reason: str) -> None:
        super().__init__(f"This queryset cannot be stored: {reason}. Declare a QuerySetExport that builds it.")


class InputGone(ExportError):
    """The rows that were stored with a request have been removed since."""

    code = "input_gone"


class RunInterrupted(Exception):
    """The worker's right to this request has ended."""


class LeaseLost(RunInterrupted):
    """The row was cancelled, rescued or published by somebody else."""


class WorkerStopping(RunInterrupted):
    """The process was told to stop."""


class InvalidCriteria(Exception):
    """The criteria cannot be used; raise it from `get_items`."""


class InvalidForm(InvalidCriteria):
    """The form that validates the criteria refuses them; `form` knows why."""

    def __init__(self, *args: Any, form: Any) -> None:
        super().__init__(*args)
        self.form = form


def describe_error(error: BaseException) -> str:
    """For staff: the exception's type and place, never its message, which may hold row data."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" at {Path(place[0].filename).name}:{place[0].lineno} in {place[0].name}" if place else ""
    message = f": {error}" if isinstance(error, ExportError) else ""
    return f"{type(error).__name__}{message}{where}"

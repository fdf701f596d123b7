"""The exceptions of the app. This module imports no Django, so that `exports.tabular` can use it.

* ExportError               The export fails. `code` is stored in the row.
  x UnknownFileType         It cannot begin: what the row names is unknown or no longer valid.
  x UnknownFormat
  x UnknownColumn
  x BadOption
  x InvalidStoredCriteria
  x UnstorableQuerySet
  x InputGone
  x SensitiveColumn
  x PermissionLost          Its owner may not have it any more.
  x ExportRefused
  x TooManyColumns          The data does not fit the format or the limits.
  x DuplicateColumn
  x FormulaRejected
  x UnfitValue
  x LostCells
  x RowsDiffer
  x TooManyRows
  x TooManyBytes
  x QueryTooSlow            It took too long, or produced nothing.
  x TookTooLong
  x Stalled
  x JobLost
  x NoFile
  x DeclarationError        A class or a hook of the project is wrong, or a library; a developer must act.
    x MissingMethod
  x UnsupportedLibrary
  x StorageFull             The file cannot be stored; an administrator must act.
  x StorageDenied
  + RetryableError          Another attempt may succeed.
    x StorageFailed
  x UnsafeWorkDir
    x ProcessLost
* RunInterrupted            The worker must stop this run. Says nothing about the export itself.
  x LeaseLost
  x WorkerStopping
* TransitionNotAllowed      The export has changed state, so the action was not applied.
* KeyReused                 The idempotency key belongs to another request, so nothing was added.
* ReadOnlyToken             The user has come by an API token that only reads.
* LimitReached              The user has reached a quota, so nothing was added.
* InvalidCriteria           A dj-bgfiles pattern cannot use the submitted criteria.
  x InvalidForm
"""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, TypeVar

Result = TypeVar("Result")


def without_stop_iteration(function: Callable[..., Result]) -> Callable[..., Result]:
    """Return the function with a RuntimeError in place of a StopIteration.

    Code of a project may raise one. Awaited from another thread, it would never arrive: asyncio refuses to pass it on,
    and asgiref 3.13 goes on waiting.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Result:
        try:
            return function(*args, **kwargs)
        except StopIteration as error:
            raise RuntimeError("The code of an export raised StopIteration.") from error

    return call


class ExportError(Exception):
    """Base of the errors that end an export as FAILED.

    `code` is stored in the row and selects the sentence that users read (`exports.state`); it is part of the API. The
    message goes to staff and into the log, so it must not contain row data. A request with an unknown format or a bad
    option is answered with the message itself.
    """

    code = "export_failed"
    # What the sentence for users counts, such as {"rows": 336776, "limit": 30000}.
    numbers: Mapping[str, int] = MappingProxyType({})


class UnknownFormat(ExportError):
    """Raised for a format that has no writer, or that this export does not offer. The message lists the known ones."""

    code = "unknown_format"

    def __init__(self, name: str, known: Iterable[str], *, why: str = "") -> None:
        reason = why or f"There is no format named {name!r}."
        super().__init__(f"{reason} Known formats: {', '.join(sorted(known)) or 'none'}.")


class UnknownColumn(ExportError):
    """Raised for a column that neither the model nor the export defines. Correct the export's columns."""

    code = "unknown_column"


class UnknownFileType(ExportError, KeyError):
    """Raised when no exporter is registered under a file type. Register one. A KeyError, as in dj-bgfiles."""

    code = "unknown_file_type"

    def __str__(self) -> str:
        return str(self.args[0])


class BadOption(ExportError):
    """Raised for an option that the format does not have, or with a value that it does not take."""

    code = "bad_option"

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"Option {name!r}: {why}")
        self.name = name


class InvalidStoredCriteria(ExportError):
    """Raised when criteria that were valid at the request no longer are. The user has to choose again."""

    code = "invalid_criteria"


class UnstorableQuerySet(ExportError):
    """Raised for a queryset that cannot be stored exactly. Declare a QuerySetExport that builds it instead."""

    code = "unstorable_queryset"

    def __init__(self, reason: str, *, max_rows: int | None = None) -> None:
        more = f", and it has more than EXPORTS['STORED_MAX_ROWS'] ({max_rows:,}) rows" if max_rows is not None else ""
        super().__init__(f"This queryset cannot be stored: {reason}{more}. Declare a QuerySetExport that builds it.")
        self.reason = reason


class InputGone(ExportError):
    """Raised when the rows that were stored with a request have been deleted. The user has to ask again."""

    code = "input_gone"


class SensitiveColumn(ExportError):
    """Raised for a column that may hold secrets and that the export does not name. Name it, or leave it out."""

    code = "sensitive_column"


class PermissionLost(ExportError):
    """Raised when the owner has lost the permission since the request."""

    code = "permission_lost"


class ExportRefused(ExportError):
    """Raised with the code of the export's own check when its file may not be handed out any more."""

    def __init__(self, code: str) -> None:
        super().__init__("The export does not allow this file any more.")
        self.code = code


class TooManyColumns(ExportError):
    """Raised for more columns than the format can hold. Use another format."""

    code = "too_many_columns"


class DuplicateColumn(ExportError):
    """Raised for two columns of one name in a format that identifies columns by name. Rename one."""

    code = "duplicate_column"


class FormulaRejected(ExportError):
    """Raised for a cell that looks like a formula in an export that rejects formulas."""

    code = "formula_rejected"


class UnfitValue(ExportError):
    """Raised for a value that does not fit its column's fixed type. Give the column another kind."""

    code = "unfit_value"


class LostCells(ExportError):
    """Raised when the writer refuses a cell that the cell rules allowed. This is a bug; the file is not published."""

    code = "lost_cells"


class RowsDiffer(ExportError):
    """Raised when other rows were read than were counted in the same snapshot; the file is not published."""

    code = "rows_differ"


class TooManyRows(ExportError):
    """Raised for more rows than EXPORTS["MAX_ROWS"], or the export's `max_rows`. `rows` may be only those so far."""

    code = "too_many_rows"

    def __init__(self, rows: int, limit: float) -> None:
        super().__init__(f"{rows:,} rows, and {limit:,} are allowed.")
        self.numbers = {"rows": rows, "limit": int(limit)}


class TooManyBytes(ExportError):
    """Raised for a file larger than EXPORTS["MAX_BYTES"], or the export's `max_bytes`. `size` may be that so far."""

    code = "too_many_bytes"

    def __init__(self, size: int, limit: float) -> None:
        super().__init__(f"{size:,} bytes, and {limit:,} are allowed.")
        self.numbers = {"bytes": size, "limit": int(limit)}


class QueryTooSlow(ExportError):
    """Raised when the database cancelled a statement, usually for EXPORTS["STATEMENT_TIMEOUT_SECONDS"]."""

    code = "query_too_slow"


class TookTooLong(ExportError):
    """Raised for an attempt longer than EXPORTS["MAX_RUNTIME_SECONDS"], or the export's `max_runtime_seconds`."""

    code = "took_too_long"


class Stalled(ExportError):
    """Raised for a run without progress for EXPORTS["STALL_TIMEOUT_SECONDS"]."""

    code = "stalled"


class JobLost(ExportError):
    """Raised by a DelegatedExport whose engine does not know the job any more."""

    code = "job_lost"


class DeclarationError(ExportError, ValueError):
    """Raised for an exporter, a writer or a hook of the project that cannot work. The message says what to correct."""


class MissingMethod(DeclarationError, NotImplementedError):
    """Raised where a subclass must define a method. A NotImplementedError, as in dj-bgfiles."""


class UnsupportedLibrary(ExportError):
    """Raised when an installed library is another version than this app works with. The message names both."""

    code = "unsupported_library"


class NoFile(ExportError):
    """Raised when an exporter or a handler ended without a file."""

    code = "no_file"


class StorageFull(ExportError):
    """Raised without room for the file, locally or in the storage. An immediate retry would not help."""

    code = "storage_full"


class StorageDenied(ExportError):
    """Raised when the storage refuses access or does not exist. Correct its settings or its policy."""

    code = "storage_denied"


class RetryableError(ExportError):
    """Base of errors that another attempt may avoid: a network, a database or a storage that may soon be back."""

    code = "unavailable"


class UnsafeWorkDir(RetryableError):
    """Raised when other users of the host could read or replace the files in the work folder. Nothing runs there."""


class StorageFailed(RetryableError):
    """Raised when the storage does not answer, or holds something other than what it was given."""

    code = "storage_failed"


class ProcessLost(RetryableError):
    """Raised when a helper process of this run ended unexpectedly."""

    code = "process_lost"


class RunInterrupted(Exception):
    """Base of what makes a worker stop a run without failing the export."""


class LeaseLost(RunInterrupted):
    """Raised when the row was cancelled, rescued or published elsewhere. Write and announce nothing more."""


class WorkerStopping(RunInterrupted):
    """Raised when the process was told to stop. The request goes back to the queue; the attempt does not count."""


class TransitionNotAllowed(Exception):
    """Raised when an export is no longer in a state that allows the action. Nothing was changed; show the new state."""


class KeyReused(Exception):
    """Raised when a request has the idempotency key of an earlier one with other contents. Use another key."""


class ReadOnlyToken(Exception):
    """Raised when a user who has come by an API token that only reads would request or change something."""


class LimitReached(Exception):
    """Raised when a user has reached a quota: `code` names it, `limit` is its size, retry after `seconds`."""

    def __init__(self, code: str, limit: int, *, seconds: float) -> None:
        super().__init__(f"{code}: {limit}")
        self.code = code
        self.limit = limit
        self.seconds = seconds


class InvalidCriteria(Exception):
    """Raise it from `get_items` when the criteria cannot be used."""


class InvalidForm(InvalidCriteria):
    """Raised when the form rejects the criteria; its errors are in `form.errors`."""

    # Any: this module imports no Django, whose Form it is.
    def __init__(self, *args: Any, form: Any) -> None:
        super().__init__(*args)
        self.form = form


class CellPlace(str):
    """A note on an exception that names the column and the row, or the rows, which it was raised for, and no data."""

"""QuerySetExport: an export declared in a few lines, read from a queryset in column batches."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, BinaryIO, ClassVar

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.forms import Form
from django.http import QueryDict
from django.utils import timezone, translation
from django.utils.text import slugify

from exports import sources, writers
from exports.cells import Alterations, Column
from exports.conf import config
from exports.exceptions import ExportError, InvalidStoredCriteria
from exports.models import FileRequest
from exports.models.file_request import AnyUser
from exports.runner import Produced, Run


class EmptyForm(Form):
    """The filter of an export that has none."""


class QuerySetExport:
    """Subclass it, declare what to export, override what differs, and register it:

        class FlightExport(QuerySetExport):
            file_type = "flights"
            title = _("Flights")
            form_class = FlightFilter
            columns = [Column("time_hour", _("Hour")), Column("origin__name", _("From"))]

            def get_queryset(self, user, criteria):
                return Flight.objects.filter(**criteria)

        registry.register(FlightExport)

    `criteria` is always the form's cleaned_data; the form runs at the door and again in the worker.
    """

    file_type: ClassVar[str]
    title: ClassVar[Any] = ""
    form_class: ClassVar[type[Form]] = EmptyForm
    formats: ClassVar[Sequence[str]] = ("xlsx", "csv")
    columns: ClassVar[Sequence[Column]] = ()
    lane: ClassVar[str | None] = None

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any]:
        """The rows that `user` may have under these criteria."""
        raise NotImplementedError(f"{type(self).__name__} must define get_queryset(user, criteria).")

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        """Asked at the door, at the claim, at the mail and at the download, always about the present."""
        return True

    def get_form(self, criteria: QueryDict | None, user: AnyUser) -> Form:
        return self.form_class(criteria)

    def get_columns(self, user: AnyUser) -> Sequence[Column]:
        return self.columns

    def get_filename(self, request: FileRequest) -> str:
        """The name the browser saves the file under: "<file type>-<local date>.<format>"."""
        day = timezone.localtime(request.requested_at).date().isoformat()
        return f"{slugify(self.file_type) or 'export'}-{day}.{self.extension(request)}"

    def get_lane(self, user: AnyUser, criteria: Mapping[str, Any]) -> str:
        """`small` up to EXPORTS["SMALL_ROWS"] rows, else `large`, unless the class names one. Counts no further."""
        if self.lane:
            return self.lane
        few = self.get_queryset(user, criteria).order_by()[: config.SMALL_ROWS + 1]
        return "small" if sources.count(few) <= config.SMALL_ROWS else "large"

    def refusal(self, request: FileRequest) -> str | None:
        """The error code of why this stored request may not run now, or None when it may."""
        owner = _owner(request)
        if request.requester_id and not owner.is_active:
            return "permission_lost"
        try:
            criteria = self.restore(request)
            return None if self.has_permission(owner, criteria) else "permission_lost"
        except ExportError as error:
            return error.code

    def restore(self, request: FileRequest) -> Mapping[str, Any]:
        """The stored criteria, through the form. Raises InvalidStoredCriteria when they do not hold any more."""
        form = self.get_form(QueryDict(request.criteria), _owner(request))
        if not form.is_valid():
            raise InvalidStoredCriteria(f"Not valid any more: {', '.join(sorted(form.errors))}.")
        return form.cleaned_data

    def extension(self, request: FileRequest) -> str:
        return writers.get(request.format).extension

    def produce(self, run: Run) -> Produced:
        """Write the rows to `run.path`, a batch of columns at a time."""
        request, alterations = run.request, Alterations()
        queryset = self.get_queryset(_owner(request), self.restore(request))
        columns = sources.resolve(queryset, self.get_columns(_owner(request)))
        with run.path.open("xb") as file, self._writer(run, file, columns, alterations) as writer:
            rows_asked = _write_rows(run, writer, queryset, columns)
            run.progress.finishing(0, None)
        receipt = {
            "rows_asked": rows_asked,
            "alterations": dict(alterations),
            "language": translation.get_language(),
            "time_zone": timezone.get_current_timezone_name(),
        }
        return Produced(self.get_filename(request), writer.content_type, writer.rows, receipt)

    def _writer(self, run: Run, file: BinaryIO, columns: Sequence[Column], alterations: Alterations) -> writers.Writer:
        return writers.get(run.request.format)(
            file,
            columns,
            options=run.request.options,
            zone=timezone.get_current_timezone(),
            title=str(self.title),
            work_dir=run.work_dir,
            alterations=alterations,
            on_bytes=lambda done, expected: _finishing(run, done, expected),
        )


def _write_rows(run: Run, writer: writers.Writer, queryset: QuerySet[Any], columns: Sequence[Column]) -> int:
    """Write every row of one snapshot of the database. Returns how many rows it counted beforehand."""
    with sources.snapshot(queryset.db):
        rows_asked = sources.count(queryset)
        run.begin(rows_asked)
        with closing(sources.batches(queryset, columns, size=config.BATCH_ROWS)) as batches:
            for batch in batches:
                writer.write(batch)
                run.advance(writer.rows)
    return rows_asked


def _finishing(run: Run, done: int, expected: int | None) -> None:
    run.check()
    run.progress.finishing(done, expected)


def _owner(request: FileRequest) -> AnyUser:
    return request.requester or AnonymousUser()

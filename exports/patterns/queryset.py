"""QuerySetExport: an export declared in a few lines, read from a queryset in column batches."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.forms import Form
from django.http import QueryDict
from django.utils import timezone
from django.utils.text import slugify

from exports import sources
from exports.cells import Column
from exports.conf import config
from exports.exceptions import ExportError, InvalidStoredCriteria
from exports.models import FileRequest
from exports.models.file_request import AnyUser
from exports.patterns.table import Table, TableExport, table_of


class EmptyForm(Form):
    """The filter of an export that has none."""


class QuerySetExport(TableExport):
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

    @contextmanager
    def table(self, request: FileRequest) -> Iterator[Table]:
        queryset = self.get_queryset(_owner(request), self.restore(request))
        with table_of(queryset, self.get_columns(_owner(request))) as table:
            yield table


def _owner(request: FileRequest) -> AnyUser:
    return request.requester or AnonymousUser()

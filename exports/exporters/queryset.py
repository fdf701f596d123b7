"""QuerySetExport: an export declared in a few lines, read from querysets in column batches."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.forms import Form
from django.http import QueryDict
from django.utils import timezone
from django.utils.text import slugify

from exports.conf import config
from exports.exceptions import BadOption, ExportError, InvalidStoredCriteria, NoFile, PermissionLost, UnknownFormat
from exports.exporters.base import Table, TableExport, dialect_of, tables_of
from exports.exporters.sheets import Held, Sheet, has_at_most, headers_withheld, is_withheld, permitted, spoken
from exports.models import FileRequest
from exports.models.request import AnyUser
from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.writers import Writer


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

    `criteria` is always the form's cleaned_data; the form runs at the door and again in the worker. `count` says what
    the bar is measured by: "exact" counts the rows before they are read, "estimate" asks the database what it believes,
    "none" asks nobody. `reuse_within_seconds` is in place of EXPORTS["REUSE_WITHIN_SECONDS"]. Only with
    `for_machines` may a user ask for text without formula escaping. See docs/exports.md.
    """

    file_type: ClassVar[str]
    form_class: ClassVar[type[Form]] = EmptyForm
    formats: ClassVar[Sequence[str]] = ("xlsx", "csv")
    columns: ClassVar[Sequence[Column]] = ()
    queue_name: ClassVar[str | None] = None
    count: ClassVar[str] = "exact"
    reuse_within_seconds: ClassVar[float | None] = None
    for_machines: ClassVar[bool] = False

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any]:
        """The rows that `user` may have under these criteria."""
        raise NotImplementedError(f"{type(self).__name__} must define get_queryset(user, criteria).")

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        """Asked at the door, at the claim, before the file is published, at the mail, where it is shown, and at the
        download, always about the present."""
        return True

    def has_column_permission(self, user: AnyUser, permission: str) -> bool:
        """Asked of somebody who is signed in, for each permission that a column names, as often as has_permission."""
        return user.has_perm(permission)

    def get_form(self, criteria: QueryDict | None, user: AnyUser) -> Form:
        return self.form_class(criteria)

    def get_columns(self, user: AnyUser) -> Sequence[Column]:
        return self.columns

    def get_sheets(self, user: AnyUser, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
        """The sheets of the file, at least one. Overridden, only formats that hold several tables are offered."""
        return [Sheet(str(self.title), self.get_queryset(user, criteria), self.get_columns(user))]

    def get_filename(self, request: FileRequest) -> str:
        """The name the browser saves the file under: "<file type>-<local date>.<format>"."""
        day = timezone.localtime(request.requested_at).date().isoformat()
        return f"{slugify(self.file_type) or 'export'}-{day}.{self.extension(request)}"

    def get_queue_name(self, user: AnyUser, criteria: Mapping[str, Any]) -> str:
        """`small` up to EXPORTS["SMALL_QUEUE_MAX_ROWS"] rows, else `large`, unless the class names one. Counts no
        further."""
        if self.queue_name:
            return self.queue_name
        return "small" if has_at_most(self._sheets(user, criteria), config.SMALL_QUEUE_MAX_ROWS) else "large"

    def columns_for(self, user: AnyUser, criteria: Mapping[str, Any]) -> list[Column]:
        """The columns of all sheets, as they are declared."""
        if not self.has_sheets():
            return list(self.get_columns(user))
        return [column for sheet in self.get_sheets(user, criteria) for column in sheet.columns]

    def held(self, user: AnyUser, columns: Iterable[Column]) -> Held:
        """The permissions that these columns ask for, and whether `user` holds them. Nobody does without signing in."""
        return self._held(user, {column.permission for column in columns} - {""})

    def withheld_from(self, user: AnyUser) -> list[str]:
        """The columns that `user` will not get, for the form. Several sheets are not known before it is filled in."""
        columns = [] if self.has_sheets() else self.get_columns(user)
        held = self.held(user, columns)
        return [spoken(column) for column in columns if is_withheld(column, held)]

    @classmethod
    def has_sheets(cls) -> bool:
        """Whether the file may have several sheets."""
        return cls.get_sheets is not QuerySetExport.get_sheets

    @classmethod
    def offered(cls) -> list[type[Writer]]:
        """The writers of the declared formats, of those that are there and hold as many tables as there may be."""
        known = {writer.format: writer for writer in writers.formats()}
        declared = [known[format] for format in cls.formats if format in known]
        return [writer for writer in declared if writer.holds_tables or not cls.has_sheets()]

    def format_choices(self) -> list[tuple[str, str]]:
        """The formats that are offered, each with its name for people, the usual one first."""
        return [(writer.format, writer.label) for writer in self.offered()]

    def writer_of(self, format: str) -> type[Writer]:
        """The writer of an offered format, of the usual one for "". Raises UnknownFormat, which says why."""
        offered = self.offered()
        for writer in offered:
            if format in ("", writer.format):
                return writer
        raise UnknownFormat(format, [writer.format for writer in offered], why=self._why_not(format))

    def clean_options(self, writer: type[Writer], options: Mapping[str, Any]) -> dict[str, Any]:
        """All options of the format for this export. Raises BadOption."""
        cleaned = writer.clean_options(options)
        if cleaned.get("formulas") == "raw" and not self.for_machines:
            raise BadOption("formulas", "'raw' is for exports that declare `for_machines`.")
        return cleaned

    def _why_not(self, format: str) -> str:
        if format not in self.formats:
            return ""
        several = f"{self.title or self.file_type} has several sheets, which {format!r} cannot hold."
        return writers.why_missing(format) or (several if self.has_sheets() else "")

    def extension(self, request: FileRequest) -> str:
        return self.writer_of(request.format).extension

    def refusal(self, request: FileRequest) -> str | None:
        """The error code of why this stored request may not run now, or None when it may."""
        owner = _owner(request)
        if request.requester_id and not owner.is_active:
            return "permission_lost"
        try:
            is_granted = self.has_permission(owner, self.restore(request)) and self._may_have_columns(owner, request)
            return None if is_granted else "permission_lost"
        except ExportError as error:
            return error.code

    def restore(self, request: FileRequest) -> Mapping[str, Any]:
        """The stored criteria, through the form. Raises InvalidStoredCriteria when they do not hold any more."""
        form = self.get_form(QueryDict(request.criteria), _owner(request))
        if not form.is_valid():
            raise InvalidStoredCriteria(f"Not valid any more: {', '.join(sorted(form.errors))}.")
        return form.cleaned_data

    @contextmanager
    def tables(self, request: FileRequest) -> Iterator[Sequence[Table]]:
        owner = _owner(request)
        sheets = self._sheets(owner, self.restore(request))
        held = self.held(owner, [column for sheet in sheets for column in sheet.columns])
        left = permitted(sheets, held) if held else sheets
        if not left:
            raise PermissionLost("Its owner may have none of the columns.")
        receipt = {"columns_withheld": headers_withheld(sheets, held), "column_permissions": held} if held else {}
        dialect = dialect_of(request.format, request.options)
        with tables_of(left, count=self.count, dialect=dialect) as [first, *others]:
            yield [replace(first, receipt=receipt), *others]

    def _may_have_columns(self, user: AnyUser, request: FileRequest) -> bool:
        """Whether `user` still holds the permissions of the columns that are in the file, where there is one."""
        asked = request.receipt.get("column_permissions", {})
        return all(self._held(user, (name for name, was_held in asked.items() if was_held)).values())

    def _held(self, user: AnyUser, permissions: Iterable[str]) -> Held:
        is_somebody = user.is_authenticated and user.is_active
        return {name: is_somebody and bool(self.has_column_permission(user, name)) for name in sorted(permissions)}

    def _sheets(self, user: AnyUser, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
        sheets = self.get_sheets(user, criteria)
        if not sheets:
            raise NoFile(f"{type(self).__name__}.get_sheets() gave no sheet, and a file has at least one.")
        return sheets


def _owner(request: FileRequest) -> AnyUser:
    return request.requester or AnonymousUser()

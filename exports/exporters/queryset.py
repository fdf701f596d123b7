"""QuerySetExport: an export declared in a few lines, read from querysets in batches of columns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Final

from django.contrib.auth.models import AbstractUser
from django.db.models import QuerySet
from django.db.models.manager import BaseManager
from django.forms import Form
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.text import slugify
from django.utils.translation import gettext as _

from exports.conf import config
from exports.exceptions import (
    BadOption,
    DeclarationError,
    ExportError,
    InvalidForm,
    InvalidStoredCriteria,
    MissingMethod,
    NoFile,
    PermissionLost,
    UnknownColumn,
    UnknownFormat,
)
from exports.exporters.base import Table, TableExport, dialect_of, tables_of
from exports.exporters.choosing import choose, named
from exports.exporters.criteria import NoCriteriaYet, UndecidedYet
from exports.exporters.labels import bounded, describe_form
from exports.exporters.options import PREFIX, option_field, with_language
from exports.exporters.sensitive import refuse_sensitive
from exports.exporters.sheets import (
    Sheet,
    columns_of,
    has_at_most,
    headers_withheld,
    is_withheld,
    permitted,
    spoken,
    with_keys,
)
from exports.filenames import slug_of
from exports.models import FileRequest
from exports.models.locale import local_time
from exports.models.request import AnyUser
from exports.tabular import writers
from exports.tabular.columns import Column, as_columns
from exports.tabular.readers.rows import Rows
from exports.tabular.writers import Writer

NO_CRITERIA: Final = NoCriteriaYet()


class EmptyForm(Form):
    """The filter form of an export without a filter."""


class QuerySetExport(TableExport):
    """An export of querysets. Subclass it, declare what to export, and register it.

        class FlightExport(QuerySetExport):
            file_type = "flights"
            title = _("Flights")
            form_class = FlightFilter
            columns = [Column("time_hour", _("Hour")), Column("origin__name", _("From"))]

            def get_queryset(self, user, criteria):
                return Flight.objects.filter(**criteria)

        registry.register(FlightExport)

    `criteria` is always the form's cleaned_data; the form is validated in the request and again in the worker.

    Attributes:
        file_type: The unique name of the export, which is part of its URL.
        permission: The permission that users need, such as "shop.view_order".
        columns: The columns that users may choose, each a Column or the name of a plain one.
        default_columns: The names of those that a file has if its user chooses none; by default all.
        form_class: The Django form of the filter. An export has none by default.
        formats: The names of the formats that users may choose, the default first.
        queue_name: The queue of the export. By default the number of rows decides: see `get_queue_name`.
        count: How the total of the progress bar is found: "exact" counts the rows before they are read, "estimate" asks
            the database for an estimate, "none" shows no total.
        reuse_within_seconds: Replaces EXPORTS["REUSE_WITHIN_SECONDS"].
        default_options: Replaces defaults of options, by format: {"csv": {"profile": "spreadsheet"}}.
        form_options: The options that the form lets users choose, by format: {"csv": ["profile"]}.
        for_machines: True allows users to choose text without formula escaping.
        columns_need_database: True where `get_queryset` asks the database, as no system check may.
        feeds: True lets users make lasting addresses of the file for Excel and other programs: docs/feeds.md.
        sensitive_columns: Columns that are not in `columns`, and that EXPORTS["SENSITIVE_FIELDS"] protects.
        sensitive_criteria: Fields of the form that stay out of the label and the file name.

    """

    file_type: ClassVar[str]
    permission: ClassVar[str] = ""
    sensitive_columns: ClassVar[Sequence[str]] = ()
    sensitive_criteria: ClassVar[Sequence[str]] = ()
    form_class: ClassVar[type[Form]] = EmptyForm
    formats: ClassVar[Sequence[str]] = ("xlsx", "csv")
    # A name stands for a plain Column; every declared sequence of them becomes one of Columns.
    columns: ClassVar[Sequence[Any]] = ()
    default_columns: ClassVar[Sequence[str]] = ()
    queue_name: ClassVar[str | None] = None
    count: ClassVar[str] = "exact"
    reuse_within_seconds: ClassVar[float | None] = None
    for_machines: ClassVar[bool] = False
    feeds: ClassVar[bool] = False
    default_options: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    form_options: ClassVar[Mapping[str, Sequence[str]]] = {"csv": ("profile",), "tsv": ("profile",)}
    # True where get_queryset asks the database, as no system check may.
    columns_need_database: ClassVar[bool] = False

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any]:
        """Return the rows that `user` may have under these criteria."""
        raise MissingMethod(f"{type(self).__name__} must define get_queryset, get_rows or get_arrow.")

    def get_rows(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any] | Rows:
        """Return the rows that `user` may have under these criteria, by default those of `get_queryset`.

        Override it for rows that are no queryset: an iterable of dicts, tuples or objects, or a DataFrame of pandas. It
        is called in the worker, which reads the rows in batches. See docs/exports.md.
        """
        queryset = self.get_queryset(user, criteria)
        if not isinstance(queryset, QuerySet | BaseManager):
            raise DeclarationError(
                f"{type(self).__name__}.get_queryset() returned a {type(queryset).__name__}, which is no queryset. "
                "For rows of other kinds define get_rows(user, criteria) in its place."
            )
        return queryset

    def get_arrow(self, user: AnyUser, criteria: Mapping[str, Any]) -> object:
        """Return the rows that `user` may have under these criteria as an Arrow stream, in place of `get_rows`.

        It is any object with `__arrow_c_stream__`, such as a relation of DuckDB, a frame of Polars, a table or a
        RecordBatchReader of pyarrow. It is called in the worker, which reads one record batch after the other. Without
        `columns` the file has all fields. See docs/arrow.md.
        """
        raise MissingMethod(f"{type(self).__name__} must define get_arrow(user, criteria).")

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        """Return True if `user` may export this now.

        It is called at the request, at the claim, before the file is published, before the mail is sent, whenever the
        export is shown, and at every download; and before the form is shown, when looking at `criteria` means that the
        answer depends on them. By default the user must hold `permission`, if there is one.
        """
        return not self.permission or user.has_perm(self.permission)

    def has_column_permission(self, user: AbstractUser, permission: str) -> bool:
        """Return True if `user`, who is signed in, holds the permission of a column. Called like has_permission."""
        return user.has_perm(permission)

    def get_form(self, criteria: QueryDict | None, user: AnyUser) -> Form:
        """Return the filter form, bound to `criteria`; unbound for None."""
        return self.form_class(criteria)

    def get_form_url(self) -> str:
        """Return the URL of the project's page that shows the form, "" by default for that of the app."""
        return ""

    def get_options_form(self, posted: QueryDict | None = None) -> Form:
        """Return a form of the options in `form_options`, for those formats that are offered."""
        form = Form(posted)
        for writer in self.offered():
            defaults = {**writer.clean_options({}), "delimiter": "", "decimal": ""}
            defaults |= self.default_options.get(writer.format, {})
            for name in self.form_options.get(writer.format, ()):
                values = [value for value in writer.choices[name] if value != "raw" or self.for_machines]
                field = option_field(writer, name, values, defaults[name])
                form.fields[f"{PREFIX}{writer.format}.{name}"] = field
        return form

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if isinstance(vars(cls).get("columns"), list | tuple):
            cls.columns = as_columns(cls.columns)

    def get_columns(self, user: AnyUser, criteria: Mapping[str, Any]) -> Sequence[Column | str]:
        """Return the columns among which the user may choose, or the names of plain ones, by default `columns`.

        Before the form is filled in there are no criteria yet: if this looks at them, the form offers no columns.
        """
        return self.columns

    def get_sheets(self, user: AnyUser, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
        """Return the sheets of the file, at least one. An override offers only formats that can hold several tables.

        It is called for the form too, whose columns are those of its sheets: see docs/exports.md.
        """
        columns = as_columns(self.get_columns(user, criteria))
        if "get_arrow" not in self.sources():
            return [Sheet(str(self.title), self.get_rows(user, criteria), columns)]
        stream: Any = self.get_arrow(user, criteria)
        if not hasattr(stream, "__arrow_c_stream__"):
            raise DeclarationError(
                f"{type(self).__name__}.get_arrow() returned a {type(stream).__name__}, which has no "
                "__arrow_c_stream__. For rows of other kinds define get_rows(user, criteria) in its place."
            )
        return [Sheet(str(self.title), stream, columns)]

    def describe(self, criteria: Mapping[str, Any]) -> str | None:
        """Return what the user chose, in words of the active language; None, by default, to say it from the form.

        Users tell their exports apart by it, and the file name contains it: leave secrets out.
        """
        return None

    def label_of(self, form: Form) -> str:
        """Return the label of an export with this valid form; "" if everything has its default."""
        described = self.describe(form.cleaned_data)
        return bounded(describe_form(form, secret=self.sensitive_criteria) if described is None else str(described))

    def get_filename(self, export: FileRequest) -> str:
        """Return "<file type>-<label>-<local date>.<extension>", without the label if there is none."""
        day = local_time(export.requested_at).date().isoformat()
        parts = [slugify(self.file_type) or "export", slug_of(export.label), day]
        return f"{'-'.join(filter(None, parts))}.{self.extension(export)}"

    def get_queue_name(self, user: AnyUser, criteria: Mapping[str, Any]) -> str:
        """Return `queue_name`, or else "small" for up to EXPORTS["SMALL_QUEUE_MAX_ROWS"] rows and "large" for more.

        It is "large" for an export that defines `get_rows` or `get_arrow`, which are left to the worker.
        """
        if self.queue_name:
            return self.queue_name
        if self.is_read_by_worker():
            return "large"
        sheets = self._checked_sheets(user, criteria)
        return "small" if has_at_most(sheets, config.SMALL_QUEUE_MAX_ROWS) else "large"

    def declared_sheets(self, user: AnyUser, criteria: Mapping[str, Any]) -> list[Sheet]:
        """Return the sheets with their columns as they are declared; the only one of an export without rows."""
        if not self.has_sheets():
            return [Sheet("", (), as_columns(self.get_columns(user, criteria)))]
        return with_keys(self.get_sheets(user, criteria))

    def held(self, user: AnyUser, columns: Iterable[Column]) -> dict[str, bool]:
        """Return the permissions that these columns require, in alphabetical order, and whether `user` holds them."""
        names = set()
        for column in columns:
            if column.permission:
                names.add(column.permission)
        return {name: self._holds(user, name) for name in sorted(names)} if names else {}

    def columns_to_choose(
        self, user: AnyUser, criteria: Mapping[str, Any] = NO_CRITERIA
    ) -> tuple[list[Sheet], list[str]]:
        """Return sheets with the columns that `user` may choose, and the names of those that they may not have.

        Both are empty where they are only known once the form is filled in. Several sheets are those of the empty form,
        if it is valid. Columns of which two have one name are all in the file.
        """
        if criteria is NO_CRITERIA and self.has_sheets():
            form = self.get_form(QueryDict(), user)
            criteria = form.cleaned_data if form.is_valid() else NO_CRITERIA
        try:
            sheets = self.declared_sheets(user, criteria)
        except UndecidedYet:
            return [], []
        held = self.held(user, columns_of(sheets))
        withheld = []
        for sheet in sheets:
            title = f"{sheet.title}: " if sheet.key else ""
            withheld += [f"{title}{spoken(column)}" for column in sheet.columns if is_withheld(column, held)]
        available = permitted(sheets, held)
        is_unique = len(named(available)) == len(columns_of(available))
        return available if is_unique else [], withheld

    def usual_columns(self, available: Sequence[Sheet]) -> list[str]:
        """Return the names of the columns that a file has if the user chooses none."""
        return [name for name in named(available) if not self.default_columns or name in self.default_columns]

    @classmethod
    def has_sheets(cls) -> bool:
        """Return True if the file may have several sheets."""
        return cls.get_sheets is not QuerySetExport.get_sheets

    @classmethod
    def is_read_by_worker(cls) -> bool:
        """Return True if the rows are no queryset, and are left to the worker."""
        has_others = {"get_rows", "get_arrow"} & set(cls.sources())
        return bool(has_others) and not cls.has_sheets()

    @classmethod
    def sources(cls) -> list[str]:
        """Return the names of the methods that the class defines to say where its rows come from."""
        names = ("get_queryset", "get_rows", "get_arrow")
        return [name for name in names if getattr(cls, name) is not getattr(QuerySetExport, name)]

    @classmethod
    def offered(cls) -> list[type[Writer]]:
        """Return the writers of those declared formats that are installed and can hold the sheets of this export."""
        known = {}
        for writer in writers.formats():
            known[writer.format] = writer
        offered = []
        for format in cls.formats:
            if format in known and (known[format].holds_tables or not cls.has_sheets()):
                offered.append(known[format])
        return offered

    def format_choices(self) -> list[tuple[str, str]]:
        """Return the offered formats, each with its label, the default first."""
        return [(writer.format, writer.label) for writer in self.offered()]

    def writer_of(self, format: str) -> type[Writer]:
        """Return the writer of an offered format; "" means the default. Raise UnknownFormat with the reason."""
        offered = self.offered()
        for writer in offered:
            if format in ("", writer.format):
                return writer
        reason = ""
        if format in self.formats:
            reason = writers.why_missing(format)
            if not reason and self.has_sheets():
                reason = f"{self.title or self.file_type} has several sheets, which {format!r} cannot hold."
        raise UnknownFormat(format, [writer.format for writer in offered], why=reason)

    def clean_options(self, writer: type[Writer], options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options of the format: the given ones, else those of the export, the language or the format.

        Raise BadOption.
        """
        chosen = {**self.default_options.get(writer.format, {}), **options}
        cleaned = writer.clean_options(with_language(writer, chosen))
        if cleaned.get("formulas") == "raw" and not self.for_machines:
            raise BadOption("formulas", "'raw' is for exports that declare `for_machines`.")
        return cleaned

    def extension(self, export: FileRequest) -> str:
        return self.writer_of(export.format).extension

    def refusal(self, export: FileRequest) -> str | None:
        owner = export.owner
        if export.requester_id and not owner.is_active:
            return "permission_lost"
        try:
            if not self.has_permission(owner, self.restore(export)):
                return "permission_lost"
            # A file has the columns whose permissions its owner held when it was made: they must still hold them.
            for name, was_held in export.receipt.get("column_permissions", {}).items():
                if was_held and not self._holds(owner, name):
                    return "permission_lost"
        except ExportError as error:
            return error.code
        return None

    def stored(self, form: Form) -> str:
        """Return the criteria of a valid form as text for `restore`: what its widgets read, and nothing else.

        Raise InvalidForm if they are longer than EXPORTS["MAX_CRITERIA_BYTES"].
        """
        data = form.data if isinstance(form.data, QueryDict) else as_query_dict(form.data)
        given = _ReadNames(dict(data.lists()))
        for name, field in form.fields.items():
            field.widget.value_from_datadict(given, form.files, form.add_prefix(name))
        kept = QueryDict(mutable=True)
        for name in sorted(given.read & set(data)):
            kept.setlist(name, data.getlist(name))
        criteria = kept.urlencode()
        if len(criteria) > config.MAX_CRITERIA_BYTES:
            form.add_error(None, _("These choices are too long to be stored. Please choose less."))
            raise InvalidForm("The criteria are too long.", form=form)
        return criteria

    def restore(self, export: FileRequest) -> Mapping[str, Any]:
        """Return the stored criteria as cleaned_data. Raise InvalidStoredCriteria if the form refuses them."""
        form = self.get_form(QueryDict(export.criteria), export.owner)
        if not form.is_valid():
            raise InvalidStoredCriteria(f"Not valid any more: {', '.join(sorted(form.errors))}.")
        return form.cleaned_data

    @contextmanager
    def tables(self, export: FileRequest) -> Iterator[Sequence[Table]]:
        sheets, receipt = self.permitted_sheets(export)
        dialect = dialect_of(export.format, export.options)
        with tables_of(sheets, count=self.count, dialect=dialect, is_long=True) as [first, *others]:
            yield [replace(first, receipt=receipt), *others]

    def permitted_sheets(self, export: FileRequest) -> tuple[Sequence[Sheet], dict[str, Any]]:
        """Return the sheets with the columns that were chosen and that the owner may have, and what the receipt says.

        Raise SensitiveColumn, UnknownColumn, PermissionLost and InvalidStoredCriteria.
        """
        owner = export.owner
        sheets = self._checked_sheets(owner, self.restore(export))
        declared = [*self.sensitive_columns, *(column.name for column in self.columns)]
        how = f"Leave it out, or name it in {type(self).__name__}.sensitive_columns."
        refuse_sensitive(columns_of(sheets), named=declared, how=how)
        chosen = export.columns or (self.default_columns and [(name, "") for name in self.usual_columns(sheets)])
        if chosen:
            sheets = choose(sheets, chosen, self.writer_of(export.format))
        if export.columns and not columns_of(sheets):
            raise UnknownColumn("None of the chosen columns exists any more.")
        held = self.held(owner, columns_of(sheets))
        if not held:
            return sheets, {}
        receipt = {"columns_withheld": headers_withheld(sheets, held), "column_permissions": held}
        sheets = permitted(sheets, held)
        if not sheets:
            raise PermissionLost("The owner holds the permission of none of the columns.")
        return sheets, receipt

    def _holds(self, user: AnyUser, permission: str) -> bool:
        return user.is_authenticated and user.is_active and bool(self.has_column_permission(user, permission))

    def _checked_sheets(self, user: AnyUser, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
        sheets = self.get_sheets(user, criteria)
        if not sheets:
            raise NoFile(f"{type(self).__name__}.get_sheets() gave no sheet, and a file has at least one.")
        return with_keys(sheets) if self.has_sheets() else sheets


def as_query_dict(criteria: Mapping[str, Any]) -> QueryDict:
    """Return the criteria as text, as they are stored, so that the form sees the same values now and in the worker."""
    given = QueryDict(mutable=True)
    for name, value in criteria.items():
        values = value if isinstance(value, list | tuple) else [value]
        given.setlist(name, [str(each) for each in values if each is not None])
    return given


class _ReadNames(MultiValueDict[str, str]):
    """Form data that notes which names a widget reads. Only the widget knows those of its inputs."""

    def __init__(self, data: Mapping[str, list[str]]) -> None:
        super().__init__(data)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.read.add(str(name))
        return super().__contains__(name)

    def getlist(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().getlist(name, default)

"""The columns that an export declares, and the count of cells that differ from their values."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from exports.exceptions import DeclarationError

NUMERIC: Final = ("integer", "decimal", "float")
KINDS: Final = ("text", *NUMERIC, "boolean", "date", "datetime", "time", "duration", "json", "uuid")

# What to do with text that a spreadsheet would run as a formula: escape it, leave it (for machines only) or refuse it.
FORMULA_MODES: Final = ("escape", "raw", "reject")

# For whom CSV is written: programs, which need ISO 8601, or people, whose spreadsheet must recognize dates.
PROFILES: Final = ("exchange", "spreadsheet")


def _(message: str) -> str:
    """Mark a message for translation. Who shows it translates it: this module knows no Django."""
    return message


# Every way in which a cell may differ from its value, with the sentence that the receipt shows for it. Cells that are
# counted by their offset have it behind the name: "hour_repeated +02:00".
ALTERATIONS: Final = {
    "formula_escaped": _("Text that a spreadsheet would run as a formula was made harmless by an apostrophe."),
    "control_removed": _("Control characters were removed from text."),
    "fraction_cut": _("Fractions of a second were cut off where a spreadsheet does not show them."),
    "surrogate_replaced": _("Halves of characters, which no file can hold, became replacement characters."),
    "line_break_changed": _("Carriage returns in text became the line breaks that Excel uses."),
    "text_cut": _("Text was cut at the 32,767 characters that an Excel cell can hold."),
    "number_as_text": _("Numbers that Excel would round (over 15 digits) or cannot hold were written as text."),
    "not_a_number": _("NaN and infinite numbers, which the format does not have, were written as text."),
    "number_left_out": _("NaN and infinite numbers, which a column of decimals cannot hold, were left empty."),
    "date_as_text": _("Dates outside Excel's calendar (before 1 March 1900) were written as text."),
    "zone_assumed": _("Times without a zone, in a column of times that have one, were taken as local times."),
    "time_as_text": _("Times of day with a time zone were written as text."),
    "hour_repeated": _(
        "When clocks are set back, an hour occurs twice. A spreadsheet does not show which of both it is."
    ),
    "duration_as_text": _("Durations that Excel cannot show (negative, or beyond the year 9999) were written as text."),
}


@dataclass(frozen=True)
class Column:
    """A column of an export, as a project declares it.

    Attributes:
        name: unique name of the column; also its ORM path if `source` is None.
        header: text above the column, a string or a lazy translation; `name` if empty.
        kind: one of KINDS, or "" to decide by the type of each value.
        width: width in Excel's characters, that of the cells if None; numbers that do not fit widen it (XLSX only).
        format: an Excel number format, such as "0.00" (XLSX only).
        source: an ORM path, a Django expression, or a callable that takes the model instance.
        places: number of decimal places that numbers are stored with (Parquet only).
        display: True for what people read: the label of a choice, or the str() of a related object.
        formulas: one of FORMULA_MODES for the texts of this column, or "" for that of the file (CSV and TSV only).
        permission: permission a user needs to get this column; users without it get a file without the column.
        style, header_style: properties of XlsxWriter's formats, such as {"bold": True} (XLSX only).

    """

    name: str
    header: object = ""
    kind: str = ""
    width: float | None = None
    format: str = ""
    source: object = None
    places: int | None = None
    display: bool = False
    formulas: str = ""
    permission: str = ""
    style: Mapping[str, object] = field(default_factory=dict)
    header_style: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ValueError(f"The name of a column is {self.name!r}, which is not text.")
        if not isinstance(self.width, int | float | None) or not isinstance(self.format, str):
            raise ValueError(f"Column {self.name!r}: its width is a number, its format the text of an Excel format.")
        if self.display and (self.kind not in ("", "text") or not isinstance(self.source, str | None)):
            raise ValueError(f"Column {self.name!r}: display=True is for the path of a field, and its kind is text.")
        if self.kind and self.kind not in KINDS:
            raise ValueError(f"Column {self.name!r}: the kind {self.kind!r} is none of {', '.join(KINDS)}.")
        if self.formulas and self.formulas not in FORMULA_MODES:
            raise ValueError(f"Column {self.name!r}: formulas={self.formulas!r} is none of {', '.join(FORMULA_MODES)}.")

    @property
    def label(self) -> str:
        """Text above the column."""
        return str(self.header or self.name)

    @property
    def picklable(self) -> Self:
        """A copy without the source, with plain strings and dicts, which another process can unpickle."""
        return replace(self, header=self.label, source=None, style=dict(self.style), header_style={})


def as_columns(columns: Iterable[Column | str]) -> list[Column]:
    """Return the columns, with a Column in place of each name. Raise DeclarationError for anything else."""
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise DeclarationError(f"The columns are {columns!r}, and not a list of columns and names.")
    columns = list(columns)
    for column in columns:
        if not isinstance(column, Column | str):
            raise DeclarationError(f"{column!r} is not a column: write a name, or Column(name, header).")
    return [Column(column) if isinstance(column, str) else column for column in columns]


class Alterations(Counter[str]):
    """Number of altered cells by kind of alteration (the keys of ALTERATIONS, some with an offset).

    A cell with two kinds of alterations counts under both. `places` has the addresses of the first cells of each kind,
    where the format has such: CSV, TSV, JSON Lines and XLSX.
    """

    # Any: the arguments of a Counter.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.places: dict[str, list[str]] = {}

    def sentences(self) -> list[str]:
        """Return one sentence for each kind that occurred."""
        return [f"{alteration_sentence(kind)} Cells: {cells:,}." for kind, cells in self.items()]


def alteration_sentence(kind: str) -> str:
    """Return the sentence that the receipt shows for a counted kind of alteration."""
    name, _space, offset = kind.partition(" ")
    sentence = ALTERATIONS.get(name, name.replace("_", " "))
    return f"{sentence} Offset: {offset}." if offset else sentence

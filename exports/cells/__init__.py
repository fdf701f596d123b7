"""Values to cells, one column of a batch at a time. No Django here.

The type of a value decides how it is written, never its looks, nor the declared kind alone: numbers, dates and the like
are exempt from escaping, text never is.

    columns     Column, what a host project declares · Alterations, the cells that differ from their values, counted
    texts       Texts and Numbers: columns that are text already · part, batch_rows
    moments     times that are text, to another zone and to serial numbers
    text        to_text: cells of CSV and other text files
    tokens      to_tokens: JSON of a column
    guard       text that no spreadsheet runs as a formula
    sheet       to_sheet: typed cells of XLSX, exact or text
"""

from exports.cells.columns import ALTERATIONS, FORMULAS, KINDS, NUMERIC, Alterations, Column
from exports.cells.sheet import to_sheet
from exports.cells.text import to_text
from exports.cells.texts import Numbers, Texts, batch_rows, part

__all__ = [
    "ALTERATIONS",
    "FORMULAS",
    "KINDS",
    "NUMERIC",
    "Alterations",
    "Column",
    "Numbers",
    "Texts",
    "batch_rows",
    "part",
    "to_sheet",
    "to_text",
]

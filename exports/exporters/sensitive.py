"""Columns that hold secrets, such as password hashes: they are exported only if the code of the project names them."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from exports.conf import config
from exports.exceptions import SensitiveColumn
from exports.tabular.columns import Column


def is_sensitive(path: str) -> bool:
    """Return True if the last name of a path of fields matches EXPORTS["SENSITIVE_FIELDS"]."""
    field = path.rpartition("__")[2].lower()
    return any(fnmatchcase(field, pattern) for pattern in config.SENSITIVE_FIELDS)


def refuse_sensitive(columns: Iterable[Column], *, named: Iterable[str] = (), how: str) -> None:
    """Raise SensitiveColumn for columns whose field matches EXPORTS["SENSITIVE_FIELDS"] and that are not `named`.

    `how` tells the developer how to name them.
    """
    found = [column.name for column in columns if column.name not in named and is_sensitive_column(column)]
    if found:
        raise SensitiveColumn(f"Not exported, since EXPORTS['SENSITIVE_FIELDS'] protects it: {', '.join(found)}. {how}")


def is_sensitive_column(column: Column) -> bool:
    """Return True if EXPORTS["SENSITIVE_FIELDS"] protects the field that a column shows."""
    # An F has a name, and so have callables that say which field they show, such as those of `exports.contrib`.
    source = getattr(column.source, "name", column.source)
    return is_sensitive(source if isinstance(source, str) else column.name)

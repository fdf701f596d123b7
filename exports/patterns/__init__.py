"""What a host project subclasses and registers."""

from exports.cells import Column
from exports.patterns import registry
from exports.patterns.queryset import QuerySetExport

__all__ = ["Column", "QuerySetExport", "registry"]

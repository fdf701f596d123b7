"""What a project subclasses and registers to offer an export."""

from exports.exporters import registry
from exports.exporters.delegated import DelegatedExport, JobProgress, Target
from exports.exporters.queryset import QuerySetExport
from exports.exporters.sheets import Sheet
from exports.tabular.columns import Column
from exports.tabular.writers.xlsx.workbook import SheetDesign

__all__ = [
    "Column",
    "DelegatedExport",
    "JobProgress",
    "QuerySetExport",
    "Sheet",
    "SheetDesign",
    "Target",
    "registry",
]

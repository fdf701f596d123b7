"""What a host project subclasses and registers."""

from exports.cells import Column
from exports.patterns import registry
from exports.patterns.base import (
    DelayedTemplateResponseMixin,
    EmailNotificationMixin,
    FullPattern,
    SimplePattern,
    WriterPattern,
)
from exports.patterns.criteria import (
    Criteria,
    InvalidCriteria,
    InvalidForm,
    QueryDictCriteria,
    QueryDictCriteriaWithRequester,
)
from exports.patterns.dataset import Dataset
from exports.patterns.queryset import QuerySetExport
from exports.patterns.sheets import Sheet
from exports.writers.workbook import SheetDesign

__all__ = [
    "Column",
    "Criteria",
    "Dataset",
    "DelayedTemplateResponseMixin",
    "EmailNotificationMixin",
    "FullPattern",
    "InvalidCriteria",
    "InvalidForm",
    "QueryDictCriteria",
    "QueryDictCriteriaWithRequester",
    "QuerySetExport",
    "Sheet",
    "SheetDesign",
    "SimplePattern",
    "WriterPattern",
    "registry",
]

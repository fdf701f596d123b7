"""Import path of dj-bgfiles' patterns; new code imports from `exports.exporters`."""

from exports.contrib.bgfiles import (
    Criteria,
    Dataset,
    DelayedTemplateResponseMixin,
    EmailNotificationMixin,
    FullPattern,
    InvalidCriteria,
    InvalidForm,
    QueryDictCriteria,
    QueryDictCriteriaWithRequester,
    SimplePattern,
    WriterPattern,
)
from exports.exporters import Column, QuerySetExport, Sheet, SheetDesign
from exports.patterns import registry

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

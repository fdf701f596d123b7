"""Import path of dj-bgfiles' patterns; new code imports from `exports.exporters`."""

from exports.contrib.bgfiles.criteria import Criteria, QueryDictCriteria, QueryDictCriteriaWithRequester
from exports.contrib.bgfiles.dataset import Dataset
from exports.contrib.bgfiles.patterns import (
    DelayedTemplateResponseMixin,
    EmailNotificationMixin,
    FullPattern,
    SimplePattern,
    WriterPattern,
)
from exports.exceptions import InvalidCriteria, InvalidForm
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

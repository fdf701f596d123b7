"""dj-bgfiles under its own names: patterns, toolbox and views on this app's engine.

See docs/migrating-from-dj-bgfiles.md.
"""

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

__all__ = [
    "Criteria",
    "Dataset",
    "DelayedTemplateResponseMixin",
    "EmailNotificationMixin",
    "FullPattern",
    "InvalidCriteria",
    "InvalidForm",
    "QueryDictCriteria",
    "QueryDictCriteriaWithRequester",
    "SimplePattern",
    "WriterPattern",
]

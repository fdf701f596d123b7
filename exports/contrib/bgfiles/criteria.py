"""Criteria: what a user wants exported, read from the HTTP request and stored as text on the FileRequest."""

from typing import Any, Self

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, QueryDict

from exports.conf import config
from exports.exceptions import MissingMethod
from exports.models import FileRequest

NOT_CRITERIA = ("csrfmiddlewaretoken",)


class Criteria:
    """Base class: holds the criteria as `raw` and converts them to and from stored text."""

    # Subclasses decide what `raw` is: a QueryDict here, a dict or a dataclass in a project.
    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def marshall(self) -> str:
        """Return the criteria as the text to store on the FileRequest."""
        raise MissingMethod(f"{type(self).__name__} must define marshall().")

    @classmethod
    def restore_from(cls, file_request: FileRequest) -> Self:
        """Return the criteria stored on `file_request`."""
        raise MissingMethod(f"{cls.__name__} must define restore_from(file_request).")

    @classmethod
    def build(cls, http_request: HttpRequest) -> Self:
        """Return the criteria that `http_request` carries."""
        raise MissingMethod(f"{cls.__name__} must define build(http_request).")


class QueryDictCriteria(Criteria):
    """Criteria taken from request.POST or request.GET."""

    def marshall(self) -> str:
        return self.sanitize(self.raw).urlencode()

    @classmethod
    def sanitize(cls, raw: QueryDict) -> QueryDict:
        """Return a copy without the fields that are not criteria: the CSRF token."""
        kept = raw.copy()
        for name in NOT_CRITERIA:
            kept.pop(name, None)
        return kept

    @classmethod
    def restore_from(cls, file_request: FileRequest) -> Self:
        return cls(cls.criteria_query_dict(file_request))

    @classmethod
    def build(cls, http_request: HttpRequest) -> Self:
        return cls(cls.http_query_dict(http_request))

    @classmethod
    def criteria_query_dict(cls, file_request: FileRequest) -> QueryDict:
        """Return the stored criteria as a QueryDict, encoded as EXPORTS["CRITERIA_ENCODING"] first if that is set."""
        text = file_request.criteria
        return QueryDict(text.encode(config.CRITERIA_ENCODING) if config.CRITERIA_ENCODING else text)

    @classmethod
    def http_query_dict(cls, http_request: HttpRequest) -> QueryDict:
        """Return request.POST or request.GET. Raise RuntimeError for any other method."""
        if http_request.method == "POST":
            return http_request.POST
        if http_request.method == "GET":
            return http_request.GET
        raise RuntimeError(f"Criteria are read from GET and POST requests, not from {http_request.method}.")


class QueryDictCriteriaWithRequester(QueryDictCriteria):
    """QueryDictCriteria with the requester as `user`; the FileRequest stores the user, not the criteria text."""

    def __init__(self, raw: QueryDict, user: AbstractBaseUser | AnonymousUser | None) -> None:
        super().__init__(raw)
        self.user = user

    @classmethod
    def restore_from(cls, file_request: FileRequest) -> Self:
        return cls(cls.criteria_query_dict(file_request), file_request.requester)

    @classmethod
    def build(cls, http_request: HttpRequest) -> Self:
        return cls(cls.http_query_dict(http_request), http_request.user)

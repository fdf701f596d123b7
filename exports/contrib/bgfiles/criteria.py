"""Criteria: what somebody wants exported, from the request to the stored text and back."""

from typing import Any, Self

from django.http import HttpRequest, QueryDict

from exports.conf import config
from exports.models import FileRequest

NOT_CRITERIA = ("csrfmiddlewaretoken",)


class Criteria:
    """What to export, as text on the request and as `raw` for the pattern."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def marshall(self) -> str:
        """The criteria as the text that is stored."""
        raise NotImplementedError(f"{type(self).__name__} must define marshall().")

    @classmethod
    def restore_from(cls, file_request: FileRequest) -> Self:
        raise NotImplementedError(f"{cls.__name__} must define restore_from(file_request).")

    @classmethod
    def build(cls, http_request: HttpRequest) -> Self:
        raise NotImplementedError(f"{cls.__name__} must define build(http_request).")


class QueryDictCriteria(Criteria):
    """What was posted, or asked for in the address: request.POST or request.GET."""

    def marshall(self) -> str:
        return self.sanitize(self.raw).urlencode()

    @classmethod
    def sanitize(cls, raw: QueryDict) -> QueryDict:
        """The criteria without what is none: the CSRF token."""
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
        """The stored criteria as a QueryDict; EXPORTS["CRITERIA_ENCODING"] makes bytes of them first."""
        text = file_request.criteria
        return QueryDict(text.encode(config.CRITERIA_ENCODING) if config.CRITERIA_ENCODING else text)

    @classmethod
    def http_query_dict(cls, http_request: HttpRequest) -> QueryDict:
        """Raises RuntimeError for a method other than GET and POST."""
        if http_request.method not in ("GET", "POST"):
            raise RuntimeError(f"Criteria come by GET or POST, not by {http_request.method}.")
        return http_request.POST if http_request.method == "POST" else http_request.GET


class QueryDictCriteriaWithRequester(QueryDictCriteria):
    """The same, with `user`, who is on the request already and so not in the stored text."""

    def __init__(self, raw: QueryDict, user: Any) -> None:
        super().__init__(raw)
        self.user = user

    @classmethod
    def restore_from(cls, file_request: FileRequest) -> Self:
        return cls(cls.criteria_query_dict(file_request), file_request.requester)

    @classmethod
    def build(cls, http_request: HttpRequest) -> Self:
        return cls(cls.http_query_dict(http_request), http_request.user)

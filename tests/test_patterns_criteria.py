"""Criteria of dj-bgfiles: from the request to the row and back."""

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, QueryDict
from django.test import RequestFactory

from exports.contrib.bgfiles import Criteria, QueryDictCriteria, QueryDictCriteriaWithRequester
from exports.exceptions import InvalidCriteria, InvalidForm
from tests.shop.requests import queued, user
from tests.shop.runs import configure

pytestmark = pytest.mark.django_db


def asked(*words: str, method: str = "get", someone: Any = None) -> HttpRequest:
    request = getattr(RequestFactory(), method)("/", {"word": words, "csrfmiddlewaretoken": "secret"})
    request.user = someone or AnonymousUser()
    return request


def test_criteria_that_say_nothing_about_themselves_cannot_be_used():
    assert Criteria("raw").raw == "raw"
    with pytest.raises(NotImplementedError):
        Criteria("raw").marshall()
    for way in (Criteria.restore_from, Criteria.build):
        with pytest.raises(NotImplementedError):
            way(None)


def test_a_refused_form_is_on_the_error():
    error = InvalidForm("no", form="the form")
    assert (isinstance(error, InvalidCriteria), error.form, error.args) == (True, "the form", ("no",))
    with pytest.raises(TypeError):
        InvalidForm("no")


@pytest.mark.parametrize("method", ["get", "post"])
def test_criteria_come_by_get_or_post_and_come_back_from_the_row(method: str):
    criteria = QueryDictCriteriaWithRequester.build(asked("a b", "é", method=method, someone=user()))
    assert (criteria.user, criteria.raw.getlist("word")) == (user(), ["a b", "é"])
    assert criteria.marshall() == "word=a+b&word=%C3%A9"
    restored = QueryDictCriteriaWithRequester.restore_from(queued(criteria=criteria.marshall()))
    assert (restored.user, restored.raw.getlist("word")) == (user(), ["a b", "é"])


@pytest.mark.parametrize("method", ["put", "head", "delete"])
def test_no_other_method_has_criteria(method: str):
    with pytest.raises(RuntimeError):
        QueryDictCriteria.build(getattr(RequestFactory(), method)("/"))


@pytest.mark.parametrize("encoding", [None, "utf-8", "latin-1"])
def test_stored_criteria_read_the_same_in_every_encoding(settings: Any, encoding: str | None):
    configure(settings, CRITERIA_ENCODING=encoding)
    assert QueryDictCriteria.restore_from(queued(criteria="word=%C3%A9&other=1")).raw.dict() == {
        "word": "é",
        "other": "1",
    }
    assert QueryDictCriteria.criteria_query_dict(queued(criteria="word=é"))["word"] == "é"


def test_sanitize_may_drop_more():
    class WithoutOther(QueryDictCriteria):
        @classmethod
        def sanitize(cls, raw: QueryDict) -> QueryDict:
            kept = super().sanitize(raw)
            kept.pop("other")
            return kept

    assert WithoutOther(QueryDict("word=a&other=1&csrfmiddlewaretoken=x")).marshall() == "word=a"

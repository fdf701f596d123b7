"""The patterns of dj-bgfiles: criteria, hooks, and the response in the request."""

import csv
import gc
import inspect
import io
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, QueryDict
from django.test import RequestFactory
from django.utils.translation import gettext_lazy

from exports import toolbox
from exports.contrib.bgfiles.buffers import Spool
from exports.contrib.bgfiles.huey import ScheduleWithHueyPattern
from exports.contrib.bgfiles.toolbox import Signer
from exports.models import FileRequest
from exports.patterns import (
    Criteria,
    Dataset,
    DelayedTemplateResponseMixin,
    FullPattern,
    InvalidCriteria,
    InvalidForm,
    QueryDictCriteria,
    QueryDictCriteriaWithRequester,
    SimplePattern,
    WriterPattern,
)
from tests.seed.files import body_of, content_of
from tests.shop.exports import registered
from tests.shop.requests import queued, user
from tests.shop.runs import configure

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("folder")]


class WordsExport(WriterPattern):
    """Write the words of the query string, one a line. More than two words are delayed."""

    file_type = "words"
    content_type = "text/plain"

    def get_items(self, criteria: Any) -> Any:
        return criteria.raw.getlist("word")

    def evaluate_dataset(self, dataset: Dataset, http_request: HttpRequest) -> None:
        dataset.delay = len(dataset.items) > 2

    def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
        for word in dataset.items:
            buffer.write(f"{word}\n".encode())


def asked(*words: str, method: str = "get", someone: Any = None) -> HttpRequest:
    request = getattr(RequestFactory(), method)("/", {"word": words, "csrfmiddlewaretoken": "secret"})
    request.user = someone or AnonymousUser()
    return request


def delayed(pattern: WriterPattern, *, someone: Any = None) -> FileRequest:
    """Return the request that this pattern stores for too many words."""
    is_delayed, _response = pattern.respond_to(asked("a", "b", "é", someone=someone))
    assert is_delayed
    return FileRequest.objects.latest("requested_at")


# Criteria


def test_invalid_form_carries_the_form():
    error = InvalidForm("no", form="the form")
    assert (isinstance(error, InvalidCriteria), error.form, error.args) == (True, "the form", ("no",))
    with pytest.raises(TypeError):
        InvalidForm("no")


@pytest.mark.parametrize("method", ["get", "post"])
def test_criteria_from_get_and_post_are_restored_from_the_row(method: str):
    criteria = QueryDictCriteriaWithRequester.build(asked("a b", "é", method=method, someone=user()))
    assert (criteria.user, criteria.raw.getlist("word")) == (user(), ["a b", "é"])
    assert criteria.marshall() == "word=a+b&word=%C3%A9"
    restored = QueryDictCriteriaWithRequester.restore_from(queued(criteria=criteria.marshall()))
    assert (restored.user, restored.raw.getlist("word")) == (user(), ["a b", "é"])


@pytest.mark.parametrize("method", ["put", "head", "delete"])
def test_criteria_of_other_methods_raise(method: str):
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


def test_sanitize_can_be_overridden():
    class WithoutOther(QueryDictCriteria):
        @classmethod
        def sanitize(cls, raw: QueryDict) -> QueryDict:
            kept = super().sanitize(raw)
            kept.pop("other")
            return kept

    assert WithoutOther(QueryDict("word=a&other=1&csrfmiddlewaretoken=x")).marshall() == "word=a"


# In the request


REQUIRED = {
    Criteria("raw"): ("marshall", "restore_from", "build"),
    SimplePattern(): ("build_dataset", "respond_with_file", "respond_with_delay"),
    FullPattern(): ("get_items", "evaluate_dataset", "write_bytes"),
    ScheduleWithHueyPattern(): ("get_items", "evaluate_dataset", "write_bytes"),
}


@pytest.mark.parametrize("pattern", REQUIRED, ids=lambda pattern: type(pattern).__name__)
def test_criteria_and_patterns_require_their_hooks(pattern: Criteria | SimplePattern):
    for name in REQUIRED[pattern]:
        hook = getattr(pattern, name)
        with pytest.raises(NotImplementedError, match=name):
            hook(*[None] * len(inspect.signature(hook).parameters))


def test_a_simple_pattern_answers_now_or_later():
    class Either(SimplePattern):
        def build_dataset(self, http_request: HttpRequest) -> Dataset:
            return Dataset(None, delay="late" in http_request.GET)

        def respond_with_file(self, http_request: HttpRequest, dataset: Dataset) -> str:
            return "now"

        def respond_with_delay(self, http_request: HttpRequest, dataset: Dataset) -> str:
            return "later"

    assert Either().respond_to(RequestFactory().get("/")) == (False, "now")
    assert Either().respond_to(RequestFactory().get("/?late")) == (True, "later")


def test_the_defaults_of_a_writer_pattern():
    pattern = WriterPattern("words.txt")
    assert (pattern.filename, pattern.get_filename()) == ("words.txt", "words.txt")
    assert (pattern.criteria_class, pattern.get_buffer_class()) == (QueryDictCriteriaWithRequester, Spool)
    assert (pattern.get_signer(), pattern.is_requester_only(), pattern.content_as_attachment) == (None, True, True)
    assert pattern.schedule(None, None, None) is None
    assert pattern.create_delayed_response(None, None, None, None) is None
    assert pattern.send_notification(None, "token") is None
    assert pattern.get_token_data(None) == {}


@pytest.mark.parametrize("is_attachment", [True, False])
def test_respond_to_sends_the_file_inline_or_as_attachment(is_attachment: bool):
    pattern = type("Shown", (WordsExport,), {"content_as_attachment": is_attachment})("words.txt")
    is_delayed, response = pattern.respond_to(asked("a", "é"))
    assert (is_delayed, body_of(response).decode()) == (False, "a\né\n")
    assert (response["Content-Type"], response["Content-Length"]) == ("text/plain", "5")
    assert response["Content-Disposition"] == f'{"attachment" if is_attachment else "inline"}; filename="words.txt"'
    gc.collect()


class OnlyValue:
    """A buffer that has only write and getvalue."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def getvalue(self) -> bytes:
        return b"".join(self.chunks)


def write_text(self: WriterPattern, dataset: Dataset, buffer: Any) -> None:
    csv.writer(buffer, lineterminator="\n").writerows([word] for word in dataset.items)


BUFFERS = {
    "Spool": {},
    "BytesIO": {"buffer_class": io.BytesIO},
    "only getvalue": {"buffer_class": OnlyValue},
    "text": {"buffer_class": io.StringIO, "write_bytes": write_text},
    "by hook": {"get_buffer_class": lambda self: io.BytesIO},
}


@pytest.mark.parametrize("members", BUFFERS.values(), ids=BUFFERS)
def test_any_buffer_class_works_in_the_response_and_in_the_worker(members: dict[str, Any]):
    pattern = type("Buffered", (WordsExport,), members)("w.txt")
    assert body_of(pattern.respond_to(asked("a", "é"))[1]).decode() == "a\né\n"
    request = queued(file_type="words", criteria="word=a&word=%C3%A9")
    assert pattern.create_file(request)
    request.refresh_from_db()
    assert (content_of(request).decode(), request.size, request.rows_done) == ("a\né\n", 5, 2)


def test_the_default_buffer_has_getvalue():
    with WordsExport().get_buffer_class()() as spool:
        spool.write(b"x" * (2 << 20))
        assert spool.getvalue() == b"x" * (2 << 20)


def test_the_buffer_is_closed_if_write_bytes_raises():
    class Failing(WordsExport):
        def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
            buffer.write(b"x" * (2 << 20))
            raise InvalidCriteria("no")

    with pytest.raises(InvalidCriteria):
        Failing("w.txt").respond_to(asked("a"))
    assert Failing("w.txt").create_file(queued()) is False
    gc.collect()


# Delayed


def test_a_delayed_request_stores_criteria_and_attributes():
    pattern = type("Described", (WordsExport,), {"file_description": gettext_lazy("Export")})
    request = delayed(pattern("words.txt"), someone=user())
    assert (request.criteria, request.file_type) == ("word=a&word=b&word=%C3%A9", "words")
    assert request.description == "Export"
    assert (request.requester, request.content_type, request.filename) == (user(), "text/plain", "words.txt")


def test_getters_override_the_attributes():
    attributes = dict.fromkeys(("file_type", "content_type", "file_description"), "attribute")
    values = {"content_type": "text/hooked", "filename": "hooked.txt", "file_type": "a_type", "file_description": "txt"}
    getters = {f"get_{name}": lambda self, value=value: value for name, value in values.items()}
    hooked = type("Hooked", (WordsExport,), attributes | getters)
    request = delayed(hooked("attribute.txt"))
    assert (request.file_type, request.content_type) == ("a_type", "text/hooked")
    assert (request.description, request.filename) == ("txt", "hooked.txt")
    _, response = hooked().respond_to(asked("a"))
    assert response["Content-Type"] == "text/hooked"
    assert "hooked.txt" in response["Content-Disposition"]
    response.close()


def test_get_file_request_data_may_omit_the_filename():
    class Own(WordsExport):
        def get_file_request_data(self, http_request: HttpRequest, dataset: Dataset) -> dict[str, Any]:
            return {"criteria": dataset.criteria.marshall(), "file_type": "own", "language": "fr"}

    request = delayed(Own("own.txt"))
    assert (request.file_type, request.requester_language, request.filename) == ("own", "fr", "own.txt")


def test_the_result_of_schedule_reaches_the_delayed_response():
    class Scheduled(WordsExport):
        def schedule(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> str:
            return f"{file_request.file_type} of {len(dataset.items)}"

        def create_delayed_response(
            self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset, schedule: str
        ) -> HttpResponse:
            return HttpResponse(schedule)

    is_delayed, response = Scheduled().respond_to(asked("a", "b", "c"))
    assert (is_delayed, response.content) == (True, b"words of 3")


def test_the_template_and_its_context_can_be_overridden():
    class Templated(DelayedTemplateResponseMixin, WordsExport):
        def get_delayed_template_name(self) -> str:
            return "reports/delayed_response.html"

        def get_delayed_context_data(self, **kwargs: Any) -> dict[str, Any]:
            assert set(kwargs) == {"file_request", "dataset", "schedule"}
            return {"nr_events": 3, "max_nr_events": 2}

    assert b"3 events are more than 2" in Templated().respond_to(asked("a", "b", "c"))[1].content


def test_the_token_uses_the_signer_and_data_of_the_pattern():
    tokens = []

    class Tokened(WordsExport):
        signer = Signer(salt="own")

        def get_token_data(self, file_request: FileRequest) -> dict[str, Any]:
            return {"words": file_request.rows_done}

        def send_notification(self, file_request: FileRequest, token: str) -> None:
            tokens.append(token)

    with registered(Tokened):
        request = queued(file_type="words", criteria="word=a&word=b")
        assert Tokened("w.txt").create_file(request)
    (token,) = tokens
    assert toolbox.decode(token, signer=Tokened.signer)[1]["words"] == 2

"""The patterns of dj-bgfiles: their names, criteria and hooks, and what they answer in a request."""

import csv
import gc
import io
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.utils.translation import gettext_lazy

from exports.contrib.bgfiles import (
    Dataset,
    DelayedTemplateResponseMixin,
    FullPattern,
    QueryDictCriteriaWithRequester,
    SimplePattern,
    WriterPattern,
    toolbox,
)
from exports.contrib.bgfiles.buffers import Spool
from exports.contrib.bgfiles.huey import ScheduleWithHueyPattern
from exports.contrib.bgfiles.toolbox import Signer
from exports.exceptions import InvalidCriteria
from exports.models import FileRequest
from tests.shop.exports import registered
from tests.shop.requests import queued, user
from tests.shop.runs import use_folders
from tests.test_toolbox import body_of

pytestmark = pytest.mark.django_db(transaction=True)


class WordsExport(WriterPattern):
    """The words of the address, one a line; later where there are more than two of them."""

    file_type = "words"
    content_type = "text/plain"

    def get_items(self, criteria: Any) -> Any:
        return criteria.raw.getlist("word")

    def evaluate_dataset(self, dataset: Dataset, http_request: HttpRequest) -> None:
        dataset.delay = len(dataset.items) > 2

    def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
        for word in dataset.items:
            buffer.write(f"{word}\n".encode())


@pytest.fixture(autouse=True)
def folders(settings: Any, tmp_path: Path) -> None:
    use_folders(settings, tmp_path)


def asked(*words: str, method: str = "get", someone: Any = None) -> HttpRequest:
    request = getattr(RequestFactory(), method)("/", {"word": words, "csrfmiddlewaretoken": "secret"})
    request.user = someone or AnonymousUser()
    return request


def delayed(pattern: WriterPattern, *, someone: Any = None) -> FileRequest:
    """The request that this pattern makes for too many words."""
    is_delayed, _response = pattern.respond_to(asked("a", "b", "é", someone=someone))
    assert is_delayed
    return FileRequest.objects.latest("requested_at")


# In the request


@pytest.mark.parametrize("name", ["build_dataset", "respond_with_file", "respond_with_delay"])
def test_a_simple_pattern_asks_for_its_parts(name: str):
    arguments = (None,) if name == "build_dataset" else (None, None)
    with pytest.raises(NotImplementedError):
        getattr(SimplePattern(), name)(*arguments)


@pytest.mark.parametrize("name", ["get_items", "evaluate_dataset", "write_bytes"])
@pytest.mark.parametrize("pattern", [WriterPattern, FullPattern, ScheduleWithHueyPattern])
def test_a_pattern_asks_for_what_only_its_author_knows(pattern: type[WriterPattern], name: str):
    with pytest.raises(NotImplementedError):
        getattr(pattern(), name)(*((None,) if name == "get_items" else (None, None)))


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


def test_what_a_pattern_says_by_default():
    pattern = WriterPattern("words.txt")
    assert (pattern.filename, pattern.get_filename(), pattern.criteria_class) == (
        *("words.txt", "words.txt"),
        QueryDictCriteriaWithRequester,
    )
    assert (pattern.buffer_class, pattern.get_buffer_class(), pattern.signer, pattern.get_signer()) == (
        *(Spool, Spool),
        *(None, None),
    )
    assert (pattern.requester_only, pattern.is_requester_only(), pattern.content_as_attachment) == (True, True, True)
    assert pattern.schedule(None, None, None) is None
    assert pattern.create_delayed_response(None, None, None, None) is None
    assert pattern.send_notification(None, "token") is None
    assert pattern.get_token_data(None) == {}


def test_the_file_is_in_the_response_and_nothing_of_it_stays_open():
    is_delayed, response = WordsExport("words.txt").respond_to(asked("a", "é"))
    assert (is_delayed, body_of(response).decode()) == (False, "a\né\n")
    assert (response["Content-Type"], response["Content-Length"]) == ("text/plain", "5")
    assert response["Content-Disposition"] == 'attachment; filename="words.txt"'
    gc.collect()


def test_the_file_may_be_shown_in_the_page_and_have_no_name():
    class Inline(WordsExport):
        content_as_attachment = False

    for pattern, expected in ((Inline("w.txt"), 'inline; filename="w.txt"'), (WordsExport(), "attachment; ")):
        _is_delayed, response = pattern.respond_to(asked("a"))
        assert response["Content-Disposition"].startswith(expected)
        response.close()


class OnlyValue:
    """A buffer that can only be written and asked for its value."""

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
def test_any_buffer_will_do_in_the_response(members: dict[str, Any]):
    pattern = type("Buffered", (WordsExport,), members)
    assert body_of(pattern("w.txt").respond_to(asked("a", "é"))[1]).decode() == "a\né\n"


@pytest.mark.parametrize("members", BUFFERS.values(), ids=BUFFERS)
def test_any_buffer_will_do_in_the_worker(members: dict[str, Any]):
    request = queued(file_type="words", criteria="word=a&word=%C3%A9")
    assert type("Buffered", (WordsExport,), members)("w.txt").create_file(request)
    with FileRequest.objects.get().filehandle.open() as file:
        assert file.read().decode() == "a\né\n"
    assert (FileRequest.objects.get().size, FileRequest.objects.get().rows_done) == (5, 2)


def test_an_author_who_fails_leaves_no_buffer_open():
    class Failing(WordsExport):
        def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
            buffer.write(b"x" * (2 << 20))
            raise InvalidCriteria("no")

    with pytest.raises(InvalidCriteria):
        Failing("w.txt").respond_to(asked("a"))
    assert Failing("w.txt").create_file(queued()) is False
    gc.collect()


# Delayed


def test_what_is_asked_for_is_on_the_request():
    class Described(WordsExport):
        file_description = gettext_lazy("Export")

    request = delayed(Described("words.txt"), someone=user())
    assert (request.criteria, request.file_type, request.description) == (
        "word=a&word=b&word=%C3%A9",
        "words",
        "Export",
    )
    assert (request.requester, request.content_type, request.filename) == (user(), "text/plain", "words.txt")


def test_the_hooks_say_what_the_attributes_said():
    class Hooked(WordsExport):
        file_type = content_type = file_description = "attribute"

        def get_file_type(self) -> str:
            return "hooked"

        def get_content_type(self) -> str:
            return "text/hooked"

        def get_file_description(self) -> str:
            return "Hooked"

        def get_filename(self) -> str:
            return "hooked.txt"

    request = delayed(Hooked("attribute.txt"))
    assert (request.file_type, request.content_type) == ("hooked", "text/hooked")
    assert (request.description, request.filename) == ("Hooked", "hooked.txt")
    _, response = Hooked().respond_to(asked("a"))
    assert response["Content-Type"] == "text/hooked"
    assert "hooked.txt" in response["Content-Disposition"]
    response.close()


def test_an_author_who_says_all_about_the_request_need_not_say_its_name():
    class Own(WordsExport):
        def get_file_request_data(self, http_request: HttpRequest, dataset: Dataset) -> dict[str, Any]:
            return {"criteria": dataset.criteria.marshall(), "file_type": "own", "language": "fr"}

    request = delayed(Own("own.txt"))
    assert (request.file_type, request.requester_language, request.filename) == ("own", "fr", "own.txt")


def test_what_schedule_returns_reaches_the_answer():
    class Scheduled(WordsExport):
        def schedule(self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset) -> str:
            return f"{file_request.file_type} of {len(dataset.items)}"

        def create_delayed_response(
            self, file_request: FileRequest, http_request: HttpRequest, dataset: Dataset, schedule: str
        ) -> HttpResponse:
            return HttpResponse(schedule)

    is_delayed, response = Scheduled().respond_to(asked("a", "b", "c"))
    assert (is_delayed, response.content) == (True, b"words of 3")


def test_the_template_and_its_context_can_be_chosen():
    class Templated(DelayedTemplateResponseMixin, WordsExport):
        def get_delayed_template_name(self) -> str:
            return "reports/delayed_response.html"

        def get_delayed_context_data(self, **kwargs: Any) -> dict[str, Any]:
            assert set(kwargs) == {"file_request", "dataset", "schedule"}
            return {"nr_events": 3, "max_nr_events": 2}

    assert b"3 events are more than 2" in Templated().respond_to(asked("a", "b", "c"))[1].content


def test_token_data_and_signer_are_in_the_token():
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

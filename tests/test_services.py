"""The verbs of the doors: what is asked for twice, what is refused, when the bell rings, what comes too late."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.http import QueryDict
from django.utils import timezone, translation

from exports import services
from exports.exceptions import BadOption, InvalidForm, UnknownFileType, UnknownFormat
from exports.exporters.queryset import QuerySetExport
from exports.models import FileRequest, Status
from tests.servers import free_port
from tests.shop.exports import OrderExport, heard, order_rule, registered
from tests.shop.models import Customer, Order
from tests.shop.requests import at_once, end, row, user
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

ENDED = [Status.FAILED, Status.CANCELLED, Status.EXPIRED]


@pytest.fixture
def ada() -> User:
    return user("ada")


@pytest.fixture
def bell(settings: Any) -> Iterator[list[str]]:
    configure(settings, QUEUE_BACKEND="tests.shop.exports.RecordingQueue")
    heard.clear()
    yield heard
    heard.clear()


def ask(by: Any, criteria: Any = (), **given: Any) -> FileRequest:
    return services.request_export(by, "orders", dict(criteria), **given)[0]


# Asking


def test_what_was_asked_for_is_on_the_row(ada: User) -> None:
    asked = QueryDict("status=open&at_least=3&csrfmiddlewaretoken=secret&unknown=1&city=")

    with translation.override("de"):
        request, is_new = services.request_export(
            ada, "orders", asked, format="csv", options={"delimiter": ";"}, time_zone="Asia/Tokyo"
        )

    assert is_new
    written = row(request.pk)
    assert (written["status"], written["requester_id"], written["file_type"]) == ("queued", ada.pk, "orders")
    assert written["criteria"] == "at_least=3&city=&status=open"
    assert written["options"] == {"delimiter": ";", "bom": True, "formulas": "escape"}
    assert (written["format"], written["content_type"]) == ("csv", "text/csv; charset=utf-8")
    assert (written["requester_language"], written["requester_timezone"]) == ("de", "Asia/Tokyo")
    assert (written["description"], written["queue_name"]) == ("Orders", "small")
    assert written["filename"] == f"orders-{timezone.localdate().isoformat()}.csv"


def test_what_is_stored_is_what_the_worker_restores(ada: User) -> None:
    request = ask(ada, {"status": "sent", "at_least": 7})

    assert OrderExport().restore(request) == {"status": "sent", "at_least": 7, "city": ""}


def test_without_a_format_the_first_one_is_made(ada: User) -> None:
    assert ask(ada).format == "csv"


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "\x00", "x" * 500])
def test_a_time_zone_that_is_not_known_is_the_active_one(ada: User, name: str) -> None:
    with timezone.override("Europe/Oslo"):
        assert ask(ada, time_zone=name).requester_timezone == "Europe/Oslo"


def test_values_of_python_are_stored_as_the_form_would_post_them(ada: User) -> None:
    request = ask(ada, {"at_least": 7, "status": None, "city": ""})

    assert QueryDict(request.criteria).dict() == {"at_least": "7", "city": ""}


def test_several_values_of_one_name_are_kept(ada: User) -> None:
    from django import forms

    class TaggedForm(forms.Form):
        tags = forms.MultipleChoiceField(choices=[("a", "a"), ("b", "b"), ("c", "c")])
        day = forms.DateField()
        price = forms.DecimalField()

    class TaggedExport(OrderExport):
        file_type = "tagged"
        form_class = TaggedForm
        queue_name = "small"

    asked = {"tags": ["a", "c"], "day": date(2026, 6, 1), "price": Decimal("1.50")}
    with registered(TaggedExport), translation.override("de"):
        request, _ = services.request_export(ada, "tagged", asked)
        restored = TaggedExport().restore(request)

    assert restored == {"tags": ["a", "c"], "day": date(2026, 6, 1), "price": Decimal("1.50")}


def test_what_could_not_be_restored_is_refused_at_the_door(ada: User) -> None:
    """A model instance is no text that a form could read again."""
    from django import forms

    class OfCustomer(forms.Form):
        customer = forms.ModelChoiceField(Customer.objects.all())

    class CustomersOrders(OrderExport):
        file_type = "of-customer"
        form_class = OfCustomer
        queue_name = "small"

    customer = Customer.objects.create(name="Ada")
    with registered(CustomersOrders):
        with pytest.raises(InvalidForm):
            services.request_export(ada, "of-customer", {"customer": customer})
        request, _ = services.request_export(ada, "of-customer", {"customer": customer.pk})
        assert CustomersOrders().restore(request) == {"customer": customer}


def test_somebody_without_a_name_may_ask_and_is_never_a_twin() -> None:
    first, second = ask(AnonymousUser()), ask(AnonymousUser())

    assert first.pk != second.pk
    assert first.requester is None


def test_invalid_criteria_come_back_with_the_form_that_says_why(ada: User) -> None:
    with pytest.raises(InvalidForm) as refused:
        ask(ada, {"at_least": "many"})

    assert refused.value.form.errors == {"at_least": ["Enter a whole number."]}
    assert not FileRequest.objects.exists()


def test_an_unknown_type_is_refused(ada: User) -> None:
    with pytest.raises(UnknownFileType):
        services.request_export(ada, "gone", {})


@pytest.mark.parametrize("format", ["dbf", "parquet", "CSV"])
def test_a_format_that_this_export_does_not_offer_is_refused(ada: User, format: str) -> None:
    with pytest.raises(UnknownFormat, match="Known formats: csv, xlsx"):
        ask(ada, format=format)


@pytest.mark.parametrize("options", [{"delimiter": "|"}, {"unknown": 1}, {"bom": "yes"}])
def test_a_bad_option_is_refused(ada: User, options: dict[str, Any]) -> None:
    with pytest.raises(BadOption):
        ask(ada, options=options)


def test_somebody_who_may_not_have_it_is_refused(ada: User) -> None:
    with order_rule(lambda user: user.username != "ada"), pytest.raises(services.NotAllowed):
        ask(ada)

    assert not FileRequest.objects.exists()


# Twins


def test_a_double_click_makes_one_request(ada: User, bell: list[str], django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        first, is_new = services.request_export(ada, "orders", {"status": "open", "at_least": "1"})
        again, is_new_again = services.request_export(ada, "orders", QueryDict("at_least=1&status=open"))

    assert (first.pk, is_new, is_new_again) == (again.pk, True, False)
    assert FileRequest.objects.count() == 1
    assert bell == ["small"]


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_the_same_moment_make_one_request(ada: User) -> None:
    for number in range(4):
        outcomes = at_once(*[lambda number=number: services.request_export(ada, "orders", {"at_least": number})] * 4)

        assert [is_new for _, is_new in outcomes].count(True) == 1
        assert len({request.pk for request, _ in outcomes}) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"criteria": {"status": "open"}},
        {"format": "xlsx"},
        {"options": {"delimiter": ";"}},
        {"time_zone": "Asia/Tokyo"},
        {"by": "bob"},
        {"language": "de"},
    ],
)
def test_whoever_asks_for_something_else_gets_something_else(ada: User, other: dict[str, Any]) -> None:
    first = ask(ada)
    by = user(other.pop("by", "ada"))

    with translation.override(other.pop("language", "en")):
        assert ask(by, **other).pk != first.pk


@pytest.mark.parametrize("status", [Status.READY, *ENDED])
def test_asking_again_after_the_end_makes_a_new_request(ada: User, status: str) -> None:
    first = ask(ada)
    end(first, status)

    assert ask(ada).pk != first.pk


# The bell


def test_the_bell_rings_when_the_transaction_commits(ada: User, bell: list[str], transactional_db: Any) -> None:
    with transaction.atomic():
        ask(ada)
        assert bell == []

    assert bell == ["small"]


def test_the_bell_does_not_ring_for_what_was_rolled_back(ada: User, bell: list[str], transactional_db: Any) -> None:
    with transaction.atomic():
        ask(ada)
        transaction.set_rollback(True)

    assert bell == []
    assert not FileRequest.objects.exists()


def test_a_dead_bell_is_no_error_and_the_request_waits(ada: User, settings: Any, transactional_db: Any) -> None:
    configure(settings, QUEUE_BACKEND="exports.queue.huey", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")

    request = ask(ada)

    assert row(request.pk)["status"] == "queued"


def test_a_bell_of_the_hosts_own_that_raises_is_no_error_either(
    ada: User, settings: Any, transactional_db: Any
) -> None:
    configure(settings, QUEUE_BACKEND="tests.shop.exports.BrokenQueue")

    assert row(ask(ada).pk)["status"] == "queued"


# Queues


def test_few_rows_go_to_the_small_lane_and_many_to_the_large_one(ada: User, settings: Any) -> None:
    configure(settings, SMALL_QUEUE_MAX_ROWS=2)
    Order.objects.bulk_create(Order(number=str(number), status="open") for number in range(3))
    Order.objects.create(number="x", status="sent")

    assert ask(ada, {"status": "sent"}).queue_name == "small"
    assert ask(ada, {"status": "open"}).queue_name == "large"


def test_an_export_may_name_its_lane(ada: User) -> None:
    class Large(OrderExport):
        file_type = "of-large-queue"
        queue_name = "large"

    with registered(Large):
        request, _ = services.request_export(ada, "of-large-queue", {})

    assert request.queue_name == "large"


def test_an_export_that_says_not_what_to_read_says_so(ada: User) -> None:
    class Empty(QuerySetExport):
        file_type = "empty"

    with registered(Empty), pytest.raises(NotImplementedError, match="Empty must define get_queryset"):
        services.request_export(ada, "empty", {})

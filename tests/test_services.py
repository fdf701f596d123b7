"""The verbs: request, retry, cancel, expire, revoke, see; who may have a file; when a worker is woken."""

from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from django import forms
from django.conf import LazySettings
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.http import QueryDict
from django.utils import timezone, translation

from exports import services
from exports.exceptions import BadOption, InvalidForm, TransitionNotAllowed, UnknownFileType, UnknownFormat
from exports.exporters import registry
from exports.exporters.queryset import QuerySetExport
from exports.models import FileRequest, Status, transitions
from exports.models.audit import SYSTEM
from tests.servers import free_port
from tests.shop.exports import OrderExport, order_rule, registered
from tests.shop.models import Customer, Order
from tests.shop.requests import NOON, at_once, claimed, end, in_status, made, row, user
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

ENDED = [Status.FAILED, Status.CANCELLED, Status.EXPIRED]


@pytest.fixture
def ada() -> User:
    return user("ada")


def request_orders(by: Any, criteria: Any = (), **given: Any) -> FileRequest:
    return services.request_export(by, "orders", dict(criteria), **given)[0]


# Requesting


def test_the_row_stores_what_was_requested(ada: User) -> None:
    posted = QueryDict("status=open&at_least=3&csrfmiddlewaretoken=secret&unknown=1&city=&city_0=x&status_x=y")

    with translation.override("de"):
        export, is_new = services.request_export(
            ada, "orders", posted, format="csv", options={"delimiter": ";"}, time_zone="Asia/Tokyo"
        )

    assert is_new
    stored = row(export.pk)
    assert (stored["status"], stored["requester_id"], stored["file_type"]) == ("queued", ada.pk, "orders")
    assert stored["criteria"] == "at_least=3&city=&status=open"
    options = {"profile": "exchange", "delimiter": ";", "decimal": ".", "bom": True, "formulas": "escape"}
    assert stored["options"] == options
    assert (stored["format"], stored["content_type"]) == ("csv", "text/csv; charset=utf-8")
    assert (stored["requester_language"], stored["requester_timezone"]) == ("de", "Asia/Tokyo")
    assert (stored["description"], stored["queue_name"]) == ("Orders", "small")
    assert stored["label"] == "Status: Open · At least: 3"
    assert stored["filename"] == f"orders-status-open-at-least-3-{date.today().isoformat()}.csv"
    assert OrderExport().restore(export) == {"status": "open", "at_least": 3, "city": ""}


def test_a_file_name_is_stored_without_line_breaks_and_changes_of_direction(ada: User) -> None:
    class Deceiving(OrderExport):
        file_type = "deceiving"
        queue_name = "small"

        def get_filename(self, export: FileRequest) -> str:
            return "invoice\u202excod\r\n.csv\x00 "

    with registered(Deceiving):
        export, _ = services.request_export(ada, "deceiving", {})
    assert row(export.pk)["filename"] == "invoice xcod .csv"
    FileRequest.objects.filter(pk=export.pk).update(filename="a\u2028b\u2066.csv")
    assert row(export.pk)["filename"] == "a b .csv"


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "\x00", "x" * 500])
def test_an_unknown_time_zone_is_replaced_by_the_active_one(ada: User, name: str) -> None:
    with timezone.override("Europe/Oslo"):
        assert request_orders(ada, time_zone=name).requester_timezone == "Europe/Oslo"


def test_python_values_are_stored_as_the_form_would_post_them(ada: User) -> None:
    export = request_orders(ada, {"at_least": 7, "status": None, "city": ""})
    assert QueryDict(export.criteria).dict() == {"at_least": "7", "city": ""}


def test_lists_dates_and_decimals_are_restored_in_any_language(ada: User) -> None:
    class TaggedForm(forms.Form):
        tags = forms.MultipleChoiceField(choices=[("a", "a"), ("b", "b"), ("c", "c")])
        day = forms.DateField()
        price = forms.DecimalField()

    class TaggedExport(OrderExport):
        file_type = "tagged"
        form_class = TaggedForm
        queue_name = "small"

    criteria = {"tags": ["a", "c"], "day": date(2026, 6, 1), "price": Decimal("1.50")}
    with registered(TaggedExport), translation.override("de"):
        export, _ = services.request_export(ada, "tagged", criteria)
        restored = TaggedExport().restore(export)

    assert restored == criteria


def test_widgets_of_several_inputs_are_stored_by_their_exact_names(ada: User) -> None:
    class RangeForm(forms.Form):
        prefix = "of"
        since = forms.SplitDateTimeField(widget=forms.SplitDateTimeWidget)
        day = forms.DateField(widget=forms.SelectDateWidget)
        tags = forms.MultipleChoiceField(choices=[("a", "a"), ("b", "b")])

    class RangeExport(OrderExport):
        file_type = "range"
        form_class = RangeForm
        queue_name = "small"

    inputs = {
        "of-day_day": "1", "of-day_month": "6", "of-day_year": "2026",
        "of-since_0": "2026-06-01", "of-since_1": "12:00", "of-tags": ["a", "b"],
    }  # fmt: skip
    unknown = {"of-since_2": "x", "of-day_hour": "3", "tags": "a"}
    with registered(RangeExport):
        export, _ = services.request_export(ada, "range", inputs | unknown)
        restored = RangeExport().restore(export)
    assert export.criteria == urlencode(inputs, doseq=True)
    assert restored["day"] == date(2026, 6, 1)


def test_criteria_that_are_too_long_to_be_stored_are_refused_by_the_form(ada: User, settings: LazySettings) -> None:
    configure(settings, MAX_CRITERIA_BYTES=100)
    with pytest.raises(InvalidForm) as refused:
        request_orders(ada, {"at_least": "0" * 100 + "1"})
    assert refused.value.form.errors == {"__all__": ["These choices are too long to be stored. Please choose less."]}
    assert not FileRequest.objects.exists()


def test_a_model_instance_is_refused_and_its_key_is_stored(ada: User) -> None:
    class CustomerForm(forms.Form):
        customer = forms.ModelChoiceField(Customer.objects.all())

    class CustomerOrders(OrderExport):
        file_type = "of-customer"
        form_class = CustomerForm
        queue_name = "small"

    customer = Customer.objects.create(name="Ada")
    with registered(CustomerOrders):
        with pytest.raises(InvalidForm):
            services.request_export(ada, "of-customer", {"customer": customer})
        export, _ = services.request_export(ada, "of-customer", {"customer": customer.pk})
        assert CustomerOrders().restore(export) == {"customer": customer}


def test_anonymous_requests_are_never_joined() -> None:
    first, second = request_orders(AnonymousUser()), request_orders(AnonymousUser())
    assert first.pk != second.pk
    assert first.requester is None


def test_invalid_criteria_raise_with_the_form(ada: User) -> None:
    with pytest.raises(InvalidForm) as refused:
        request_orders(ada, {"at_least": "many"})
    assert refused.value.form.errors == {"at_least": ["Enter a whole number."]}
    assert not FileRequest.objects.exists()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"format": "dbf"}, UnknownFormat, "Known formats: csv, xlsx"),
        ({"format": "parquet"}, UnknownFormat, "Known formats: csv, xlsx"),
        ({"format": "CSV"}, UnknownFormat, "Known formats: csv, xlsx"),
        ({"options": {"delimiter": "|"}}, BadOption, "delimiter"),
        ({"options": {"unknown": 1}}, BadOption, "unknown"),
        ({"options": {"bom": "yes"}}, BadOption, "bom"),
    ],
)
def test_an_unknown_format_or_option_is_refused(ada: User, given: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        request_orders(ada, **given)


def test_an_unknown_file_type_is_refused(ada: User) -> None:
    with pytest.raises(UnknownFileType):
        services.request_export(ada, "gone", {})


def test_a_user_without_permission_is_refused(ada: User) -> None:
    with order_rule(lambda user: user.username != "ada"), pytest.raises(services.NotAllowed):
        request_orders(ada)
    assert not FileRequest.objects.exists()


def test_an_export_without_get_queryset_says_what_to_define(ada: User) -> None:
    class Empty(QuerySetExport):
        file_type = "empty"

    with registered(Empty), pytest.raises(NotImplementedError, match="Empty must define get_queryset"):
        services.request_export(ada, "empty", {})


def test_few_rows_go_to_the_small_queue_and_many_to_the_large_one(ada: User, settings: Any) -> None:
    class Large(OrderExport):
        file_type = "of-large-queue"
        queue_name = "large"

    configure(settings, SMALL_QUEUE_MAX_ROWS=2)
    Order.objects.bulk_create(Order(number=str(number), status="open") for number in range(3))
    Order.objects.create(number="x", status="sent")

    assert request_orders(ada, {"status": "sent"}).queue_name == "small"
    assert request_orders(ada, {"status": "open"}).queue_name == "large"
    with registered(Large):
        assert services.request_export(ada, "of-large-queue", {"status": "sent"})[0].queue_name == "large"


# The same request twice


def test_a_double_click_makes_one_request(ada: User, woken: list[str], django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        first, is_new = services.request_export(ada, "orders", {"status": "open", "at_least": "1"})
        again, is_new_again = services.request_export(ada, "orders", QueryDict("at_least=1&status=open"))
    assert (first.pk, is_new, is_new_again) == (again.pk, True, False)
    assert FileRequest.objects.count() == 1
    assert woken == ["small"]


@pytest.mark.django_db(transaction=True)
def test_simultaneous_clicks_make_one_request(ada: User) -> None:
    for number in range(4):
        outcomes = at_once(*[lambda number=number: services.request_export(ada, "orders", {"at_least": number})] * 4)
        assert [is_new for _, is_new in outcomes].count(True) == 1
        assert len({export.pk for export, _ in outcomes}) == 1


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
def test_a_request_that_differs_in_anything_is_new(ada: User, other: dict[str, Any]) -> None:
    first = request_orders(ada)
    by = user(other.pop("by", "ada"))
    with translation.override(other.pop("language", "en")):
        assert request_orders(by, **other).pk != first.pk


@pytest.mark.parametrize("status", [Status.READY, *ENDED])
def test_the_same_request_after_the_end_is_new(ada: User, status: str) -> None:
    first = request_orders(ada)
    end(first, status)
    assert request_orders(ada).pk != first.pk


# Waking a worker


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_worker_is_woken_only_on_commit(
    ada: User, woken: list[str], transactional_db: Any, is_committed: bool
) -> None:
    with transaction.atomic():
        request_orders(ada)
        transaction.set_rollback(not is_committed)
        assert woken == []
    assert woken == (["small"] if is_committed else [])
    assert FileRequest.objects.exists() == is_committed


@pytest.mark.parametrize("backend", ["exports.queue.huey", "tests.shop.exports.BrokenQueue"])
def test_a_queue_that_cannot_be_reached_leaves_the_export_queued(
    ada: User, settings: Any, transactional_db: Any, backend: str
) -> None:
    configure(settings, QUEUE_BACKEND=backend, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert row(request_orders(ada).pk)["status"] == "queued"


# Retrying and changing


@pytest.mark.parametrize("status", ENDED)
def test_retry_makes_a_new_row_and_keeps_the_old_one(ada: User, status: str) -> None:
    export = request_orders(ada, {"status": "open"}, options={"delimiter": ";"}, time_zone="Asia/Tokyo")
    end(export, status)
    before = row(export.pk)

    again, is_new = services.retry(export, SYSTEM)

    assert is_new
    assert again.pk != export.pk
    assert row(export.pk) == before
    same = ("criteria", "options", "format", "file_type", "requester_id", "requester_timezone", "dedupe_key")
    assert {name: row(again.pk)[name] for name in same} == {name: before[name] for name in same}
    assert services.retry(export, SYSTEM) == (again, False)


def test_retry_checks_the_present_permission(ada: User) -> None:
    export = request_orders(ada)
    end(export, Status.FAILED)
    with order_rule(lambda user: False), pytest.raises(services.NotAllowed):
        services.retry(export, SYSTEM)


def test_an_anonymous_request_can_be_retried() -> None:
    export = request_orders(AnonymousUser())
    end(export, Status.FAILED)
    assert services.retry(export, SYSTEM)[1]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING, Status.READY])
def test_retry_before_such_an_end_raises(status: str) -> None:
    with pytest.raises(TransitionNotAllowed):
        services.retry(in_status(status), SYSTEM)


@pytest.mark.parametrize(
    ("verb", "possible"),
    [
        (services.cancel, [Status.QUEUED, Status.RUNNING]),
        (services.expire, [Status.READY]),
        (services.revoke, [Status.READY]),
    ],
)
@pytest.mark.parametrize("status", Status.values)
def test_a_verb_changes_the_row_or_raises(verb: Any, possible: Any, status: str) -> None:
    export = in_status(status)
    before = row(export.pk)
    if status in possible:
        verb(export, SYSTEM)
        assert row(export.pk)["seq"] == export.seq == before["seq"] + 1
    else:
        with pytest.raises(TransitionNotAllowed):
            verb(export, SYSTEM)
        assert row(export.pk) == before


def test_a_verb_that_raises_refreshes_the_instance() -> None:
    stale, claim = claimed()
    assert transitions.publish(claim, made(), now=NOON)
    with pytest.raises(TransitionNotAllowed):
        services.cancel(stale, SYSTEM)
    assert stale.status == Status.READY


def test_seen_is_set_once() -> None:
    export = in_status(Status.READY)
    services.mark_seen(export)
    first = row(export.pk)["seen_at"]
    services.mark_seen(export)
    assert first is not None
    assert row(export.pk)["seen_at"] == first


# Who may have the file


def test_the_owner_may_have_the_file_while_the_export_allows_it(ada: User) -> None:
    export = in_status(Status.READY, requester=ada)
    staff = User.objects.create_superuser("root")
    assert services.may_download(ada, export)
    with order_rule(lambda user: False):
        assert not services.may_download(ada, export)
        # The export is asked about the owner only.
        assert services.may_download(staff, export)
    assert not services.may_download(user("bob"), export)
    assert not services.may_download(AnonymousUser(), export)


def test_the_owner_may_not_have_a_file_whose_export_is_not_registered(ada: User) -> None:
    export = in_status(Status.READY, requester=ada)
    handlers = dict(registry.handlers)
    registry.handlers.clear()
    try:
        assert not services.may_download(ada, export)
    finally:
        registry.handlers.update(handlers)

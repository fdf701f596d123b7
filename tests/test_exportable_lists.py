"""ExportableListMixin: the list of a ListView or a FilterView as a file, and {% export_button %}."""

import csv
import io
import re
from html import unescape
from pathlib import Path
from typing import Any

import django_filters
import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.template import engines
from django.test import Client
from django.urls import include, path
from django.views.generic import ListView
from django_filters.views import FilterView

from exports import storage
from exports.models import FileRequest, Status
from exports.shortcuts import ExportableListMixin
from exports.worker import loop
from tests.office.browsers import HTML, JSON, signed_in, status_of
from tests.shop.models import Customer, Order
from tests.shop.runs import configure, use_folders

pytestmark = pytest.mark.django_db(transaction=True)

TEMPLATE = """{% load exports %}{% export_button %}
{% for order in object_list %}<i>{{ order.number }}</i>{% endfor %}"""


class Page:
    """The template of the pages, as text."""

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponseBase:
        return HttpResponse(engines["django"].from_string(TEMPLATE).render(context, self.request))


class OrderList(ExportableListMixin, Page, ListView):
    model = Order
    paginate_by = 2
    export_columns = ("number", "customer__name")
    export_filename = "orders"

    def get_ordering(self) -> str:
        return self.request.GET.get("ordering", "number")


class OrderFilter(django_filters.FilterSet):
    ordering = django_filters.OrderingFilter(fields=["number", "quantity"])

    class Meta:
        model = Order
        fields = {"status": ["exact"], "customer__city": ["exact"], "quantity": ["gte"]}  # noqa: RUF012  # As documented.


class OrderFilterView(ExportableListMixin, Page, FilterView):
    queryset = Order.objects.order_by("pk")
    filterset_class = OrderFilter
    paginate_by = 2
    export_columns = ("number",)
    export_formats = ("csv",)
    export_permission = "shop.view_order"


urlpatterns = [
    path("orders/", OrderList.as_view()),
    path("filtered/", OrderFilterView.as_view()),
    path("exports/", include("exports.urls")),
]


@pytest.fixture(autouse=True)
def lists(settings: Any, tmp_path: Path) -> None:
    use_folders(settings, tmp_path)
    settings.ROOT_URLCONF = __name__
    people = [Customer.objects.create(name=name, city=city) for name, city in (("Ada", "Oslo"), ("Bo", "Rome"))]
    for number in range(1, 6):
        status = "open" if number < 4 else "sent"
        Order.objects.create(number=f"n{number}", customer=people[number % 2], quantity=number, status=status)


@pytest.fixture
def client() -> Client:
    return signed_in(User.objects.create_superuser("root"))


def lines(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))


def shown(client: Client, address: str) -> list[str]:
    """The numbers on all pages of a list."""
    found: list[str] = []
    for page in range(1, 4):
        answer = client.get(f"{address}&page={page}")
        found += re.findall("<i>(.*?)</i>", answer.content.decode()) if answer.status_code == 200 else []
    return found


@pytest.mark.parametrize(
    "address",
    [
        "/orders/?",
        "/orders/?ordering=-quantity",
        "/filtered/?status=open",
        "/filtered/?status=open&ordering=-quantity",
        "/filtered/?customer__city=Rome&quantity__gte=2",
        "/filtered/?quantity__gte=nonsense",
    ],
)
@pytest.mark.shows("django-filter")
@pytest.mark.parametrize("max_rows", [0, 100], ids=["queued", "at once"])
def test_the_file_has_the_rows_of_all_pages(client: Client, settings: Any, address: str, max_rows: int):
    configure(settings, INLINE_MAX_ROWS=max_rows)
    expected = shown(client, address)
    answer = client.get(f"{address}&export=csv", headers=HTML)
    if max_rows == 0 and expected:
        export = FileRequest.objects.get()
        assert (answer.status_code, answer.url) == (303, f"/exports/{export.pk}/page/")
        loop.WorkerLoop(None).run_due()
        export.refresh_from_db()
        assert export.status == Status.READY
        with storage.open_file(export.filehandle.name) as file:
            content = file.read()
    else:
        content = answer.getvalue()
    assert [line[0] for line in lines(content)] == ["Order number", *expected]


def test_the_columns_and_the_name_are_those_of_the_view(client: Client):
    answer = client.get("/orders/?export=csv")
    assert 'filename="orders.csv"' in answer["Content-Disposition"]
    assert lines(answer.getvalue())[:2] == [["Order number", "Customer full name"], ["n1", "Bo"]]


def test_only_the_formats_of_the_view_are_offered(client: Client):
    assert client.get("/filtered/?export=xlsx", headers=JSON).status_code == 400
    assert client.get("/filtered/?export=nonsense", headers=JSON).status_code == 400
    assert status_of(client, "/orders/?export=xlsx") == 200


def test_the_permission_of_the_view_is_asked_again_for_the_file(client: Client, settings: Any):
    someone = User.objects.create_user("ada")
    assert signed_in(someone).get("/filtered/?export=csv").status_code == 403
    configure(settings, INLINE_MAX_ROWS=0)
    client.get("/filtered/?export=csv")
    User.objects.filter(username="root").update(is_superuser=False)
    loop.WorkerLoop(None).run_due()
    assert FileRequest.objects.get().error_code == "permission_lost"


def test_the_button_keeps_filters_and_ordering_but_not_the_page(client: Client):
    page = client.get("/filtered/?status=open&ordering=-quantity&page=2").content.decode()
    assert re.findall('href="(.*?)"', unescape(page)) == ["?status=open&ordering=-quantity&export=csv"]
    links = re.findall('href="(.*?)"', unescape(client.get("/orders/").content.decode()))
    assert links == ["?export=xlsx", "?export=csv"]

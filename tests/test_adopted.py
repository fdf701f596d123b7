"""Exports of Resources, Tables and viewsets: their files have the cells that the original gives."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import openpyxl
import pytest
from django.contrib.auth.models import Permission, User
from django_tables2.export import TableExport

from exports import services, storage
from exports.contrib.import_export import ResourceExport, register_resource
from exports.contrib.tables2 import register_table
from exports.contrib.viewsets import register_viewset
from exports.exceptions import DeclarationError, InvalidForm
from exports.exporters import registry
from exports.models import FileRequest, Status
from exports.worker import loop
from tests.adopted.resources import RESOURCES, ReportResource
from tests.adopted.tables import TABLES, AccessorTable
from tests.adopted.viewsets import BookViewSet, OrderViewSet, TaggedViewSet
from tests.office.browsers import signed_in
from tests.shop.models import Book, Customer, EveryField, Order, Tag
from tests.shop.runs import configure, use_folders

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.aware_times]

MOMENT = datetime(2026, 5, 3, 14, 30, 15, tzinfo=UTC)


@pytest.fixture(autouse=True)
def shop(settings: Any, tmp_path: Path) -> Iterator[None]:
    """Rows with values of every kind, and rows without values."""
    use_folders(settings, tmp_path)
    settings.ROOT_URLCONF = "tests.adopted.viewsets"
    before, replaced = dict(registry.handlers), list(registry.replaced)
    ada = Customer.objects.create(name="Ada", city="Oslo", tier="gold")
    for number in range(1, 5):
        Order.objects.create(
            number=f"n{number}", customer=ada, status="open" if number < 3 else "sent", note="Größe; \"groß\"",
            quantity=number * 5, units=2**40, price=Decimal("19.90") * number, weight=0.25 * number,
            is_paid=number % 2 == 0, ordered_on=date(2026, 5, number), placed_at=MOMENT, opens_at=time(8, 30),
            preparation=timedelta(days=1, hours=2), details={"sizes": [1, 2]}, reference=UUID(int=number),
        )  # fmt: skip
    Order.objects.create(number="n5", reference=UUID(int=5))
    EveryField.objects.create(
        name="full", small=1, big=2**40, positive=3, price=Decimal("1.50"), share=Decimal("0.125"), whole=7, weight=1.5,
        flag=True, day=date(2026, 5, 1), moment=MOMENT, clock=time(23, 59), text="a\nb", slug="a-b", address="::1",
        file="a.txt", reference=UUID(int=9), details={"a": None}, customer=ada, took=timedelta(seconds=90), shouted="x",
    )  # fmt: skip
    EveryField.objects.create(name="empty")
    tags = [Tag.objects.create(name=name) for name in ("new", "used")]
    for pages in (100, 200):
        book = Book.objects.create(title=f"title {pages}", pages=pages, author=ada)
        book.tags.set(tags[: pages // 100])
    yield
    registry.handlers.clear()
    registry.handlers.update(before)
    registry.replaced[:] = replaced


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


def content_of(user: User, file_type: str, format: str, criteria: Any = None) -> bytes:
    export, _is_new = services.request_export(user, file_type, criteria or {}, format=format)
    loop.WorkerLoop(None).run_due()
    export.refresh_from_db()
    assert export.status == Status.READY, export.error_detail
    with storage.open_file(export.filehandle.name) as file:
        return file.read()


def lines(content: bytes | str) -> list[list[str]]:
    text = content if isinstance(content, str) else content.decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


def cells(content: bytes) -> list[list[object]]:
    """The values of a workbook's cells; empty text is an empty cell."""
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    return [[None if value == "" else value for value in row] for row in sheet.iter_rows(values_only=True)]


@pytest.mark.shows("django-import-export")
def test_every_resource_has_the_cells_of_its_csv(root: User):
    for resource in RESOURCES:
        register_resource(resource, "adopted")
        assert lines(content_of(root, "adopted", "csv")) == lines(resource().export().csv)


def test_every_resource_has_the_cells_of_its_workbook(root: User):
    for resource in RESOURCES:
        register_resource(resource, "adopted")
        original = resource().export(force_native_type=True).export("xlsx")
        assert cells(content_of(root, "adopted", "xlsx")) == cells(original)


@pytest.mark.shows("django-tables2")
def test_every_table_has_the_cells_of_its_csv(root: User):
    for table in TABLES:
        register_table(table, "adopted")
        original = TableExport("csv", table(table.Meta.model.objects.all())).export()
        assert lines(content_of(root, "adopted", "csv")) == lines(original)


def test_every_table_has_the_cells_of_its_workbook(root: User):
    for table in TABLES:
        register_table(table, "adopted")
        original = TableExport("xlsx", table(table.Meta.model.objects.all())).export()
        assert cells(content_of(root, "adopted", "xlsx")) == cells(original)


def flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a row of an API, those of nested objects under "customer.name"."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name == "customer":
            found |= flat(value or dict.fromkeys(("name", "city")), f"{name}.")
        else:
            found[prefix + name] = value
    return found


QUERIES = ("", "status=open", "search=ada&ordering=-quantity", "quantity__gte=10&status=sent", "ordering=-number")


@pytest.mark.shows("viewsets of Django REST framework")
@pytest.mark.parametrize("is_staff", [True, False])
def test_a_viewset_has_the_rows_and_values_of_its_list(is_staff: bool):
    someone = User.objects.create_user("ada", is_staff=is_staff)
    someone.user_permissions.set(Permission.objects.filter(codename="view_order"))
    register_viewset(OrderViewSet, "adopted")
    for query in QUERIES:
        original = [flat(row) for row in signed_in(someone).get(f"/api/orders/?{query}").json()]
        made = content_of(someone, "adopted", "jsonl", {"query": query})
        assert [json.loads(line) for line in made.splitlines()] == original


def test_a_viewset_with_another_representation_has_its_values(root: User):
    register_viewset(BookViewSet, "adopted", title="Books")
    original = signed_in(root).get("/api/books/").json()
    assert [json.loads(line) for line in content_of(root, "adopted", "jsonl").splitlines()] == original
    assert lines(content_of(root, "adopted", "csv"))[0] == ["Title", "Pages", "Author", "Tags"]


def test_the_permission_classes_of_a_viewset_are_asked():
    someone = User.objects.create_user("ada")
    for viewset in (OrderViewSet, BookViewSet):
        register_viewset(viewset, "adopted")
        if viewset is BookViewSet:
            with pytest.raises(services.NotAllowed):
                services.request_export(someone, "adopted", {})
    staff = User.objects.create_user("bo", is_staff=True)
    export, _is_new = services.request_export(staff, "adopted", {}, format="csv")
    User.objects.filter(pk=staff.pk).update(is_staff=False)
    loop.WorkerLoop(None).run_due()
    assert FileRequest.objects.get(pk=export.pk).error_code == "permission_lost"


def test_a_permission_is_required_besides_those_of_a_viewset(root: User):
    assert register_viewset(BookViewSet, "adopted").permission == ""
    register_viewset(BookViewSet, "adopted", permission="shop.delete_book")
    staff = User.objects.create_user("bo", is_staff=True)
    with pytest.raises(services.NotAllowed):
        services.request_export(staff, "adopted", {})
    services.request_export(root, "adopted", {})


def test_filters_that_a_viewset_refuses_are_refused(root: User):
    register_viewset(OrderViewSet, "adopted")
    with pytest.raises(InvalidForm):
        services.request_export(root, "adopted", {"query": "status=nonsense"})


def test_a_viewset_says_how_it_is_filtered(root: User):
    register_viewset(OrderViewSet, "adopted")
    export, _is_new = services.request_export(root, "adopted", {"query": "status=open&search=ada"})
    assert (export.description, export.label) == ("Orders", "status: open · search: ada")


@pytest.mark.parametrize(
    "register", [lambda: register_resource(ReportResource, "adopted"), lambda: register_table(AccessorTable, "adopted")]
)
def test_users_need_the_permission_to_view_the_model(register: Any):
    assert register().permission == "shop.view_order"
    with pytest.raises(services.NotAllowed):
        services.request_export(User.objects.create_user("ada"), "adopted", {})


def test_sensitive_fields_of_a_resource_must_be_named(root: User, settings: Any):
    configure(settings, SENSITIVE_FIELDS=("city",))
    register_resource(ReportResource, "adopted")
    export, _is_new = services.request_export(root, "adopted", {}, format="csv")
    loop.WorkerLoop(None).run_due()
    assert FileRequest.objects.get(pk=export.pk).error_code == "sensitive_column"
    register_resource(ReportResource, "adopted", sensitive_columns=["city"])
    assert "City" in lines(content_of(root, "adopted", "csv"))[0]


def test_a_resource_that_needs_all_rows_at_once_is_refused(root: User):
    class Summed(ReportResource):
        def after_export(self, queryset: Any, dataset: Any, **kwargs: Any) -> None:
            dataset.append(["", "", "", "", "total"])

    register_resource(Summed, "adopted")
    with pytest.raises(DeclarationError, match="after_export"):
        services.request_export(root, "adopted", {})


def test_a_subclass_adds_a_filter(root: User):
    class OpenOrders(ResourceExport):
        file_type = "adopted"
        resource_class = ReportResource
        permission = "shop.view_order"

        def get_queryset(self, user: Any, criteria: Any) -> Any:
            return super().get_queryset(user, criteria).filter(status="open")

    registry.register(OpenOrders)
    assert [line[1] for line in lines(content_of(root, "adopted", "csv"))] == ["number", "n1", "n2", "n5"]


def test_sensitive_fields_in_a_list_of_objects_must_be_named(root: User, settings: Any):
    configure(settings, SENSITIVE_FIELDS=("name",))
    register_viewset(TaggedViewSet, "adopted")
    export, _is_new = services.request_export(root, "adopted", {}, format="csv")
    loop.WorkerLoop(None).run_due()
    assert FileRequest.objects.get(pk=export.pk).error_code == "sensitive_column"
    register_viewset(TaggedViewSet, "adopted", sensitive_columns=["tags"])
    assert lines(content_of(root, "adopted", "csv"))[0] == ["Title", "Tags"]

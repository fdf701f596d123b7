"""ExportMixin: the button and the action of a changelist, and the rows and cells of its file."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.models import Permission, User
from django.test import Client

from exports import storage
from exports.admin import ExportMixin
from exports.admin.replay import ListRequest
from exports.exporters import permissions
from exports.models import FileRequest, Status
from exports.worker import loop
from tests.backoffice.sites import SEES_ALL, open_site
from tests.office.browsers import HTML, JSON, signed_in
from tests.shop.models import Book, Customer, Order, Tag
from tests.shop.requests import user
from tests.shop.runs import use_folders

pytestmark = pytest.mark.django_db(transaction=True)

ORDERS = "/backoffice/shop/order/"
EXPORT = f"{ORDERS}export/"
NUMBERS = ["number"]
ALL_COLUMNS = [
    "number", "customer", "customer__city", "status", "quantity", "price", "is_paid", "ordered_on", "is_large",
    "badge", "city_or_nothing", "shouted",
]  # fmt: skip


@pytest.fixture(autouse=True)
def backoffice(settings: Any, tmp_path: Path) -> Iterator[None]:
    use_folders(settings, tmp_path)
    settings.ROOT_URLCONF = "tests.backoffice.urls"
    with open_site():
        yield


@pytest.fixture
def orders() -> list[Order]:
    """Seven orders: odd ones from Oslo, even ones from Rome; the last one has no customer and no values."""
    people = [Customer.objects.create(name=name, city=city) for name, city in (("Ada", "Oslo"), ("Bo", "Rome"))]
    made = []
    for number in range(1, 7):
        made.append(
            Order.objects.create(
                number=f"n{number}", customer=people[(number + 1) % 2], status="open" if number < 4 else "sent",
                quantity=number * 5, price=f"{number}.50", is_paid=number == 2, ordered_on=date(2026, 5, number),
            )
        )  # fmt: skip
    return [*made, Order.objects.create(number="n7", note="<i>")]


def employee(name: str = SEES_ALL, *names: str, **columns: Any) -> User:
    """A user of the admin with these permissions of the shop."""
    someone = user(name, is_staff=True, **columns)
    codenames = names or ("view_order", "view_customer")
    someone.user_permissions.set(Permission.objects.filter(content_type__app_label="shop", codename__in=codenames))
    return someone


def requested(client: Client, query: str = "", url: str = EXPORT, **fields: Any) -> FileRequest:
    """Post the form of a changelist, and return the export."""
    fields = {"format": "csv", "columns": NUMBERS, "query": query, **fields}
    answer = client.post(url, fields, headers=JSON)
    assert answer.status_code == 202, answer.content
    return FileRequest.objects.get(pk=answer.json()["id"])


def run(export: FileRequest) -> FileRequest:
    loop.WorkerLoop(None).run_due()
    export.refresh_from_db()
    return export


def lines_of(export: FileRequest) -> list[list[str]]:
    run(export)
    assert export.status == Status.READY, export.error_detail
    with storage.open_file(export.filehandle.name) as file:
        return list(csv.reader(io.StringIO(file.read().decode("utf-8-sig"))))


def numbers_of(export: FileRequest) -> list[str]:
    return [line[0] for line in lines_of(export)[1:]]


def shown(client: Client, query: str) -> list[str]:
    """The numbers that the changelist shows, on all of its pages."""
    changelist = client.get(f"{ORDERS}?{query}").context["cl"]
    return [order.number for order in changelist.queryset]


def offered(client: Client, url: str = EXPORT) -> list[str]:
    """The names of the columns that the form offers."""
    [sheet] = client.get(url).context["columns"]
    return [column.name for column in sheet.columns]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "status__exact=sent",
        "status__exact=open&is_paid__exact=0&o=-5",
        "q=Bo&o=-1",
        "o=2.-5",
        "ordered_on__year=2026&ordered_on__month=5&ordered_on__day=3",
        "q=nothing+like+it",
        "p=2&all=",
    ],
)
def test_the_file_has_the_rows_of_all_pages_in_their_order(orders: list[Order], query: str):
    client = signed_in(employee())
    assert numbers_of(requested(client, query)) == shown(client, query)


def test_the_cells_are_those_of_the_changelist(orders: list[Order]):
    lines = lines_of(requested(signed_in(employee()), "o=1", columns=ALL_COLUMNS))
    assert lines[0] == [
        "Order number", "Customer", "Customer city", "Status", "Quantity", "Price", "Paid", "Ordered on", "Large",
        "Badge & colour", "City", "In capitals",
    ]  # fmt: skip
    assert lines[1] == [
        "n1", "Ada", "Oslo", "Open", "5", "1.50", "false", "2026-05-01", "false", "none & more", "Oslo", "N1",
    ]  # fmt: skip
    assert lines[7] == ["n7", "", "", "Open", "", "", "false", "", "", "<i> & more", "unknown", "N7"]


def test_another_text_for_missing_values_is_in_the_cells():
    Customer.objects.create(name="Ada", tier="gold")
    client = signed_in(employee())
    export = requested(client, url="/backoffice/shop/customer/export/", columns=["name", "city", "tier"])
    assert lines_of(export) == [["Full name", "City", "Tier"], ["Ada", "(none)", "Gold"]]


def test_a_list_without_columns_offers_every_field():
    assert offered(signed_in(employee()), "/backoffice/shop/customer/export/") == ["id", "name", "city", "tier"]


@pytest.mark.parametrize(
    "declared",
    [
        {"exclude": ["city"]},
        {"fields": [("name", "tier")]},
        {"fieldsets": [(None, {"fields": ["name", "tier"]})]},
    ],
)
def test_a_field_that_the_admin_hides_is_not_offered(declared: dict[str, Any]):
    customers = type("HidingAdmin", (ExportMixin, ModelAdmin), declared)(Customer, AdminSite(name="hiding"))
    request = ListRequest(customers, employee(SEES_ALL, "view_customer"))
    assert customers.get_export_columns(request) == ["id", "name", "tier"]


def test_the_button_leads_to_the_rows_of_the_list(orders: list[Order]):
    client = signed_in(employee())
    page = client.get(f"{ORDERS}?status__exact=sent&p=1").content.decode()
    assert re.search(rf'<a href="{EXPORT}\?status__exact=sent"[^>]*>.*?Export</a>', page)
    dialog = client.get(f"{EXPORT}?status__exact=sent")
    assert "3 rows will be exported." in dialog.content.decode()
    assert dialog.context["form"].initial["query"] == "status__exact=sent"


@pytest.mark.parametrize("across", ["0", "1"])
def test_the_action_exports_the_selected_rows_or_those_of_all_pages(orders: list[Order], across: str):
    client = signed_in(employee())
    chosen = [orders[0].pk, orders[1].pk]
    data = {"action": "export_selected", "_selected_action": chosen, "select_across": across}
    form = client.post(f"{ORDERS}?status__exact=open", data).context["form"]
    export = requested(client, form.initial["query"], selected=form.initial["selected"])
    assert numbers_of(export) == (["n7", "n3", "n2", "n1"] if across == "1" else ["n2", "n1"])


def test_the_rows_are_those_that_the_user_may_see(orders: list[Order]):
    client = signed_in(employee("ada", first_name="Oslo"))
    assert numbers_of(requested(client)) == ["n5", "n3", "n1"]
    assert numbers_of(requested(client, selected=[orders[0].pk, orders[1].pk])) == ["n1"]


def test_the_rows_are_those_that_the_user_may_see_when_the_worker_runs(orders: list[Order]):
    someone = employee("ada", first_name="Oslo")
    export = requested(signed_in(someone))
    User.objects.filter(pk=someone.pk).update(first_name="Rome")
    assert numbers_of(export) == ["n6", "n4", "n2"]


@pytest.mark.parametrize("change", [{"is_staff": False}, {"is_active": False}])
def test_a_user_who_has_left_the_admin_gets_no_file(orders: list[Order], change: dict[str, bool]):
    someone = employee()
    export = requested(signed_in(someone))
    User.objects.filter(pk=someone.pk).update(**change)
    assert run(export).error_code == "permission_lost"


def test_a_file_that_is_made_is_kept_from_a_user_without_permission(orders: list[Order]):
    someone = employee()
    export = run(requested(signed_in(someone)))
    assert permissions.is_still_granted(export)
    someone.user_permissions.clear()
    assert not permissions.is_still_granted(FileRequest.objects.get(pk=export.pk))


def test_who_may_not_view_the_model_may_not_export_it(orders: list[Order]):
    client = signed_in(employee("ada", "view_customer"))
    assert client.get(EXPORT).status_code == 403
    answer = client.post(EXPORT, {"format": "csv", "columns": NUMBERS})
    assert answer.status_code == 403
    form = "/exports/new/admin-backoffice-shop-order/"
    assert client.post(form, {"format": "csv", "columns": NUMBERS}, headers=JSON).status_code == 403
    assert not FileRequest.objects.exists()


def test_an_export_permission_that_the_model_declares_is_required():
    Tag.objects.create(name="new")
    someone, url = employee("ada", "view_tag"), "/backoffice/shop/tag/"
    client = signed_in(someone)
    assert "export/" not in client.get(url).content.decode()
    assert client.get(f"{url}export/").status_code == 403
    employee("ada", "view_tag", "export_tag")
    export = requested(client, url=f"{url}export/", columns=["name", "length"])
    assert lines_of(export) == [["Name", "Length"], ["new", "3"]]
    assert client.get(f"{url}export/").context["exporter"].format_choices() == [("csv", "CSV")]


def test_columns_are_chosen_ordered_and_renamed(orders: list[Order]):
    names = {"columns": ["number", "shouted"], "position.shouted": "1", "position.number": "2", "header.number": "No."}
    assert lines_of(requested(signed_in(employee()), "status__exact=sent&o=1", **names))[:2] == [
        ["In capitals", "No."],
        ["N4", "n4"],
    ]


def test_without_javascript_the_page_of_the_form_shows_the_export(orders: list[Order]):
    client = signed_in(employee())
    query = "status__exact=sent"
    answer = client.post(f"{EXPORT}?{query}", {"format": "csv", "columns": NUMBERS, "query": query}, headers=HTML)
    assert (answer.status_code, answer.url) == (302, f"{EXPORT}?{query}")
    page = client.get(answer.url).content.decode()
    assert f'export-id="{FileRequest.objects.get().pk}"' in page
    assert '<noscript><meta http-equiv="refresh"' in page


def test_a_form_without_columns_is_shown_again_in_the_admin(orders: list[Order]):
    answer = signed_in(employee()).post(EXPORT, {"format": "csv", "columns_offered": "1"}, headers=HTML)
    assert answer.status_code == 400
    assert "exports/admin/export.html" in [template.name for template in answer.templates]
    assert "Choose at least one column." in answer.content.decode()


@pytest.mark.parametrize("query", ["nonsense=1", "customer__password=1", "ordered_on__year=x"])
def test_filters_that_the_list_refuses_are_refused(orders: list[Order], query: str):
    client = signed_in(employee())
    assert client.get(f"{EXPORT}?{query}").url == f"{ORDERS}?e=1"
    answer = client.post(EXPORT, {"format": "csv", "columns": NUMBERS, "query": query}, headers=JSON)
    assert answer.json()["error"]["fields"] == {"__all__": ["The list cannot be filtered like this."]}
    assert client.post(EXPORT, {"format": "csv", "columns": NUMBERS, "query": query}).status_code == 400


def test_a_retry_reads_the_list_again(orders: list[Order]):
    client = signed_in(employee())
    export = requested(client, "status__exact=sent")
    client.post(f"/exports/{export.pk}/cancel/")
    Order.objects.filter(number="n1").update(status="sent")
    again = client.post(f"/exports/{export.pk}/retry/", headers=JSON).json()
    assert numbers_of(FileRequest.objects.get(pk=again["id"])) == ["n6", "n5", "n4", "n1"]


def test_an_export_is_edited_in_the_admin(orders: list[Order]):
    client = signed_in(employee())
    export = requested(client, "status__exact=sent&o=1", columns=["status", "number"], selected=[orders[4].pk])
    edit = client.get(f"/exports/{export.pk}/", headers=JSON).json()["urls"]["edit"]
    form = client.get(edit, follow=True)
    assert form.redirect_chain == [(f"{EXPORT}?from={export.pk}", 302)]
    assert form.context["form"].initial == {"query": "status__exact=sent&o=1", "selected": [str(orders[4].pk)]}
    [sheet] = form.context["columns"]
    assert [column.name for column in sheet.columns if column.is_chosen] == ["status", "number"]
    other = signed_in(employee("ada"))
    assert other.get(f"{EXPORT}?from={export.pk}").status_code == 404


def test_sensitive_fields_are_offered_only_if_export_columns_names_them(settings: Any):
    Customer.objects.create(name="Ada", city="Oslo")
    settings.EXPORTS = {**settings.EXPORTS, "SENSITIVE_FIELDS": ("city", "name")}
    client = signed_in(employee(SEES_ALL, "view_order", "view_customer", "view_tag", "export_tag"))
    assert offered(client, "/backoffice/shop/customer/export/") == ["id", "tier"]
    assert "customer__city" not in offered(client)
    assert offered(client, "/backoffice/shop/tag/export/") == ["name", "length"]
    assert lines_of(requested(client, url="/backoffice/shop/tag/export/", columns=["name"])) == [["Name"]]


def test_a_list_without_actions_has_the_button_only():
    client = signed_in(employee("ada", "view_book"))
    page = client.get("/backoffice/shop/book/").content.decode()
    assert "/backoffice/shop/book/export/" in page
    assert "export_selected" not in page
    assert "export/" not in client.get("/backoffice/shop/book/?_popup=1").content.decode()
    assert Book.objects.count() == 0


def test_times_are_in_the_time_zone_of_the_list(orders: list[Order]):
    export = requested(signed_in(employee()), time_zone="Asia/Tokyo")
    assert export.requester_timezone != "Asia/Tokyo"


def test_a_long_list_needs_no_more_queries_for_each_row(orders: list[Order], django_assert_max_num_queries: Any):
    customer = orders[0].customer
    Order.objects.bulk_create(Order(number=f"m{number}", customer=customer) for number in range(1500))
    export = requested(signed_in(employee()), columns=ALL_COLUMNS)
    with django_assert_max_num_queries(60):
        assert len(lines_of(export)) == 1508


def test_selected_rows_that_have_no_such_keys_are_refused(orders: list[Order]):
    answer = signed_in(employee()).post(EXPORT, {"format": "csv", "columns": NUMBERS, "selected": ["x"]}, headers=JSON)
    assert answer.status_code == 400


def test_the_label_tells_how_the_list_is_searched_and_filtered(orders: list[Order]):
    client = signed_in(employee())
    export = requested(client, "q=ada&status__exact=open&is_paid__exact=0&o=1")
    assert export.label == "“ada” · status: Open · paid: No"
    assert export.filename.startswith("orders-ada-status-open-paid-no-")
    assert requested(client, selected=[orders[0].pk, orders[1].pk]).label == "2 selected"
    assert requested(client).label == ""


def test_a_column_that_does_not_exist_is_found_by_the_checks() -> None:
    class Wrong(ExportMixin, ModelAdmin):
        export_columns = ("number", "customer__city", "nope", "customer__nope")

    found = Wrong(Order, AdminSite(name="checked")).check()
    assert [(each.id, each.msg.split(":")[1]) for each in found] == [
        ("exports.E050", " 'nope'"),
        ("exports.E050", " 'customer__nope'"),
    ]

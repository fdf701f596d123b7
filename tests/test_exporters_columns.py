"""Columns with a permission: withheld from users who lack it, named in the receipt, checked at every download."""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.checks import CheckMessage

from exports import checks, housekeeping, services, storage
from exports.exceptions import BadOption
from exports.exporters import Column, QuerySetExport, Sheet, permissions
from exports.models import FileRequest, Notification, Status
from exports.worker import loop
from tests.office.browsers import HTML, JSON, signed_in, status_of, url_of
from tests.shop.exports import registered
from tests.shop.models import Customer, Order
from tests.shop.requests import user
from tests.shop.runs import configure, use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

PRICES, CUSTOMERS = "shop.change_order", "shop.view_customer"


class PricedExport(QuerySetExport):
    file_type = "priced"
    title = "Priced orders"
    formats = ("csv", "xlsx")
    columns = (
        Column("number"),
        Column("price", permission=PRICES),
        Column("customer__name", "Customer", permission=CUSTOMERS),
    )
    queue_name = "small"

    def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> Any:
        return Order.objects.order_by("pk")

    def has_permission(self, user: Any, criteria: Mapping[str, Any]) -> bool:
        return True


class SheetsExport(PricedExport):
    file_type = "priced_sheets"
    formats = ("xlsx",)
    queue_name = None

    def get_sheets(self, user: Any, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
        people = [Column("name", permission=CUSTOMERS), Column("city", permission=CUSTOMERS)]
        return [
            Sheet("Customers", Customer.objects.order_by("pk"), people),
            Sheet("Orders", Order.objects.order_by("pk"), self.columns),
        ]


@pytest.fixture(autouse=True)
def shop(settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    use_folders(settings, tmp_path)
    ada = Customer.objects.create(name="Ada", city="Oslo")
    Order.objects.create(number="N1", price="10.50", customer=ada)
    with registered(PricedExport), registered(SheetsExport):
        yield


def may(someone: User, *permissions: str) -> User:
    """Return the user, who holds exactly these permissions of the shop from now on."""
    names = [permission.partition(".")[2] for permission in permissions]
    someone.user_permissions.set(Permission.objects.filter(content_type__app_label="shop", codename__in=names))
    return User.objects.get(pk=someone.pk)


def requested(someone: Any, file_type: str = "priced", **given: Any) -> tuple[FileRequest, bool]:
    return services.request_export(someone, file_type, {}, **given)


def made(someone: Any, file_type: str = "priced", **given: Any) -> FileRequest:
    export, _ = requested(someone, file_type, **given)
    assert loop.dispatch(export.pk)
    return FileRequest.objects.select_related("requester").get(pk=export.pk)


def text_of(export: FileRequest) -> str:
    assert export.status == Status.READY, export.error_detail
    with storage.open_file(export.filehandle.name) as file:
        return file.read().decode("utf-8-sig")


# Files


@pytest.mark.parametrize(
    ("held", "lines", "withheld"),
    [
        ((PRICES, CUSTOMERS), ["Order number,Price,Customer", "N1,10.50,Ada"], []),
        ((PRICES,), ["Order number,Price", "N1,10.50"], ["Customer"]),
        ((CUSTOMERS,), ["Order number,Customer", "N1,Ada"], ["Price"]),
        ((), ["Order number", "N1"], ["Price", "Customer"]),
    ],
)
def test_a_column_is_only_for_users_who_hold_its_permission(held: Sequence[str], lines: list[str], withheld: list[str]):
    export = made(may(user(), *held), format="csv")

    assert text_of(export).splitlines() == lines
    assert export.receipt["columns_withheld"] == withheld
    assert export.receipt["column_permissions"] == {name: name in held for name in (PRICES, CUSTOMERS)}


def test_without_column_permissions_the_receipt_has_no_such_entries():
    class PlainExport(PricedExport):
        file_type = "plain"
        columns = (Column("number"),)

    with registered(PlainExport):
        assert not {"columns_withheld", "column_permissions"} & set(made(user(), "plain").receipt)


def test_superusers_get_all_columns_inactive_and_anonymous_users_none():
    root = User.objects.create_superuser("root")
    columns = PricedExport.columns
    assert set(PricedExport().held(root, columns).values()) == {True}
    root.is_active = False
    assert set(PricedExport().held(root, columns).values()) == {False}
    assert set(PricedExport().held(AnonymousUser(), columns).values()) == {False}


def test_anonymous_users_never_get_a_column_with_a_permission():
    class GenerousExport(PricedExport):
        file_type = "generous"

        def has_column_permission(self, user: Any, permission: str) -> bool:
            return True

    with registered(GenerousExport):
        assert text_of(made(AnonymousUser(), "generous", format="csv")).splitlines() == ["Order number", "N1"]


def test_has_column_permission_can_be_overridden():
    class TenantExport(PricedExport):
        file_type = "tenants"
        columns = (Column("number"), Column("price", permission="prices"))

        def has_column_permission(self, user: Any, permission: str) -> bool:
            return permission == "prices" and user.username == "ada"

    with registered(TenantExport):
        assert "Price" in text_of(made(user("ada"), "tenants", format="csv"))
        assert "Price" not in text_of(made(user("bob"), "tenants", format="csv"))
        assert list(checks.check_permissions()) == []


def test_a_sheet_without_permitted_columns_is_left_out():
    export = made(may(user(), PRICES), "priced_sheets", format="xlsx")

    with storage.open_file(export.filehandle.name) as file:
        book = openpyxl.load_workbook(BytesIO(file.read()))
    assert {sheet.title: list(sheet.values) for sheet in book.worksheets} == {
        "Orders": [("Order number", "Price"), ("N1", 10.5)]
    }
    assert export.receipt["columns_withheld"] == ["Customers: Full name", "Customers: City", "Orders: Customer"]


def test_of_several_sheets_only_permitted_columns_can_be_chosen():
    ada = may(user(), PRICES)
    page = signed_in(ada).get("/exports/new/priced_sheets/", headers=HTML).content.decode()
    assert "Customers: Name, Customers: City, Orders: Customer" in page
    assert 'value="Orders.price"' in page
    assert 'value="Customers.name"' not in page
    for name in ("Customers.name", "Orders.customer__name", "price"):
        with pytest.raises(BadOption, match="there is no column"):
            services.request_export(ada, "priced_sheets", {}, format="xlsx", columns=[(name, "")])


def test_columns_are_chosen_when_the_file_is_made():
    ada = may(user(), PRICES)
    export, _ = requested(ada, format="csv")
    may(ada, CUSTOMERS)
    assert loop.dispatch(export.pk)
    assert text_of(FileRequest.objects.get(pk=export.pk)).startswith("Order number,Customer")


# No column left


class SecretExport(PricedExport):
    file_type = "secret"
    columns = (Column("price", permission=PRICES),)


def test_a_user_without_any_permitted_column_is_refused_before_and_in_the_run():
    with registered(SecretExport):
        with pytest.raises(services.NotAllowed):
            requested(may(user()), "secret")
        assert signed_in(user()).post("/exports/new/secret/", headers=JSON).status_code == 403
        assert not FileRequest.objects.exists()
        export, _ = requested(may(user(), PRICES), "secret")
        may(user())
        assert loop.dispatch(export.pk)
    export.refresh_from_db()
    assert (export.status, export.error_code) == (Status.FAILED, "permission_lost")


# Losing a permission later


def test_a_file_is_withheld_after_its_owner_lost_a_columns_permission():
    ada = may(user(), PRICES)
    export, client = made(ada, format="csv"), signed_in(ada)
    ticket = client.get(url_of("download", export))["Location"]
    assert status_of(client, ticket) == 200
    may(ada, PRICES, CUSTOMERS)
    assert status_of(client, ticket) == 200

    may(ada)

    assert not permissions.is_still_granted(FileRequest.objects.get(pk=export.pk))
    assert status_of(client, ticket) == 404
    assert status_of(client, url_of("download", export)) == 404
    state = client.get(url_of("detail", export)).json()
    assert (state["urls"]["download"], state["urls"]["ticket"], state["file"]) == (None, None, None)
    assert state["error"]["code"] == "permission_lost"


def test_no_mail_is_sent_after_a_column_permission_was_lost(settings: LazySettings, mailoutbox: list[Any]):
    configure(settings, MAIL_DELAY_SECONDS=0)
    made(may(user(), PRICES), format="csv")
    may(user())
    assert housekeeping.send_mails() == 0
    assert mailoutbox == []
    assert Notification.objects.get().reason == "permission lost"


def test_losing_a_column_permission_during_the_run_fails_the_export():
    ada = may(user(), PRICES)

    class DemotingExport(PricedExport):
        file_type = "demoting"

        def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> Any:
            return Order.objects.order_by("pk")

        def has_column_permission(self, user: Any, permission: str) -> bool:
            held = super().has_column_permission(user, permission)
            may(ada)
            return held

    with registered(DemotingExport):
        export, _ = requested(ada, "demoting", format="csv")
        may(ada, PRICES)
        assert loop.dispatch(export.pk)
    export.refresh_from_db()
    assert (export.status, export.error_code) == (Status.FAILED, "permission_lost")
    assert not export.filehandle


# Reuse


@pytest.mark.parametrize("now", [(), (PRICES, CUSTOMERS), (CUSTOMERS,)])
def test_a_file_made_with_other_permissions_is_not_reused(settings: LazySettings, now: Sequence[str]):
    configure(settings, REUSE_WITHIN_SECONDS=600)
    export = made(may(user(), PRICES), format="csv")
    assert requested(may(user(), PRICES), format="csv") == (export, False)
    assert requested(may(user(), *now), format="csv")[1]


def test_an_export_is_shared_and_reused_only_with_the_permissions_it_is_made_with(settings: LazySettings):
    configure(settings, REUSE_WITHIN_SECONDS=600)
    export, _ = requested(may(user(), PRICES), format="csv")
    assert requested(user(), format="csv") == (export, False)
    may(user())
    assert loop.dispatch(export.pk)
    assert requested(may(user(), PRICES), format="csv")[1]
    assert requested(may(user()), format="csv")[1]


# Forms and pages


def test_the_form_and_the_page_name_withheld_columns():
    ada = may(user(), CUSTOMERS)
    client = signed_in(ada)
    assert "Left out, since you may not have it: Price<" in client.get("/exports/new/priced/").content.decode()
    page = client.get(url_of("page", made(ada, format="csv")), headers=HTML).content.decode()
    assert "Columns left out, since you may not have them: Price<" in page
    client = signed_in(may(ada, PRICES, CUSTOMERS))
    assert "Left out" not in client.get("/exports/new/priced/").content.decode()


# Checks


def found(*columns: Column, **declared: Any) -> list[CheckMessage]:
    with registered(type("CheckedExport", (PricedExport,), {"file_type": "checked", "columns": columns, **declared})):
        return list(checks.check_permissions())


def test_a_misspelled_permission_is_reported_with_a_suggestion():
    [warning] = found(Column("number"), Column("price", permission="shop.chnage_order"))
    assert "'shop.chnage_order' of the column 'price'" in warning.msg
    assert "'shop.change_order'" in warning.hint
    [warning] = found(Column("number"), has_permission=QuerySetExport.has_permission, permission="shop.chnage_order")
    assert (warning.id, "'shop.change_order'" in warning.hint) == ("exports.W020", True)


def test_an_export_without_a_permission_rule_is_reported():
    [warning] = found(Column("number"), has_permission=QuerySetExport.has_permission)
    assert (warning.id, "has no permission rule" in warning.msg) == ("exports.W022", True)
    assert found(Column("number"), has_permission=QuerySetExport.has_permission, permission=PRICES) == []


@pytest.mark.parametrize(
    ("permission", "is_valid"),
    [("price", False), ("nowhere.view_price", False), ("", True), (PRICES, True), ("auth.view_user", True)],
)
def test_column_permissions_that_no_model_has_are_reported(permission: str, is_valid: bool):
    assert (found(Column("price", permission=permission)) == []) is is_valid
